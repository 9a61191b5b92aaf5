"""Documents that have every field of the format between them."""

from __future__ import annotations

WHOLE = """
slug: whole
version: 1.0.0
title: Whole
description: Everything at once.
language: en-GB
category: api
owner: integrations
criticality: high
documentation_uri: https://whole.example/docs
tags: [everything]
servers:
- {id: eu, url: 'https://{host}.whole.example/v1', description: Europe,
   variables: [{name: host, description: The host, default_value: api, allowed_values: [api]}]}
- {id: own, url: 'https://{instance}.whole.example'}
allowed_hosts: [api.whole.example]
schemas: {Thing: {type: object}}
rate_limit_headers: {limit: X-Limit, remaining: X-Remaining, reset: X-Reset, reset_format: unix_milliseconds}
more_rate_limit_headers: [{remaining: X-Daily-Remaining}]
check_action: me
data_classes: [personal]
icon_uris: ['https://whole.example/icon.svg']
config_variables:
- {name: instance, title: Instance, description: Where it runs, schema: {type: string}, required: true,
   default_value: main}
- {name: salt, secret: true, title: Salt, translations: [{language: de, title: Salz, description: Ein Geheimnis}]}
- {name: place, schema: {enum: [eu, own]}}
compatibility: full_transitive
gateway:
  path: /through/{integration}/{path}
  headers: {X-Account: '{connection}', X-Base: '{base}'}
  header_prefix: X-For-
  server: eu
  error: {pointer: /error/code, codes: [unknown_account]}
event_types:
- id: thing.made
  title: A thing was made
  description: Whoever made it.
  payload_schema: {$ref: '#/$defs/Thing'}
  vendor_types: [thing_made, thing_created]
- id: thing.changed
  polling:
    action: list
    input: {filter: all}
    interval: 60s
    id_pointer: /id
    cursor_pointer: /changed_at
    cursor_property: after
    changes: true
    time_pointer: /changed_at
    ordering_key_pointer: /id
- {id: me.changed, polling: {action: me, items_pointer: /accounts, id_pointer: /id}}
webhook:
  signature:
    algorithm: hmac_sha256
    header: X-Signature
    encoding: base64
    prefix: v1=
    separator: ','
    signed_content: '{id}.{timestamp}.{body}'
    timestamp_prefix: t=
    timestamp_format: unix_seconds
    tolerance: 300s
    key_encoding: base64
    key_prefix: whsec_
  secret_variable: salt
  events_pointer: /events
  id_header: X-Id
  type_pointer: /type
  type_suffix_pointer: /action
  time_pointer: /at
  ordering_key_pointer: /thing/id
  data_pointer: /thing
  challenges:
  - {pointer: /challenge, condition_pointer: /type, condition_equals: verify, answer_member: challenge,
     hmac_member: signature, unsigned: true}
  - {query_parameter: hub.challenge}
rate_limits: [{calls: 100, window: 60s, scope: app}]
retry:
  max_attempts: 5
  backoff: constant
  base_delay: 1s
  max_delay: 30s
  wait_headers: [{name: X-Wait, format: duration, minimum: 1s, maximum: 60s}]
  retry_statuses: [418]
error_rules:
- {statuses: [200], pointer: /error/code, equals: [limited], contains: limit, header: X-Error, action: rate_limited,
   failure: transient, message: Slow down}
error_message_pointers: [/error/message]
review_interval_days: 90
required_capabilities: [paging.cursor]
deprecation: {sunset_date: '2030-01-31', successor: better, description: Something better exists}
auth_schemes:
- id: oauth
  title: OAuth
  description: Consent
  translations: [{language: de, title: Anmeldung, description: Zustimmen}]
  fields:
  - {name: subdomain, title: Subdomain, description: Yours, plain: true, optional: true, multiline: true,
     schema: {type: string}, translations: [{language: de, title: Firma, description: Eure}]}
  oauth2:
    authorization_url: https://{subdomain}.whole.example/authorize
    token_url: https://whole.example/token
    revocation_url: https://whole.example/revoke
    refresh_url: https://whole.example/refresh
    scopes: [{name: read, description: Reads}]
    default_scopes: [read]
    client_authentication: post
    issuer: https://whole.example
    authorization_parameters: {access_type: offline}
    token_parameters: {audience: all}
    scope_separator: ','
    without_pkce: true
    refresh_token_idle_lifetime: 86400s
    refresh_grace: 30s
    token_response: &answer
      access_token_pointer: /user/token
      refresh_token_pointer: /user/refresh
      expires_in_pointer: /user/expires
      scope_pointer: /user/scope
      token_type_pointer: /user/type
      token_types: [bot]
      config_variables: {instance: /instance}
      default_lifetime: 3600s
- {id: key, api_key: {placement: header, name: X-Key, prefix: 'Key '}}
- {id: basic, fields: [{name: email}],
   basic: {username_title: Email, password_title: Key, username: '{email}/token', password: x}}
- {id: bearer, bearer: {token_title: Token, prefix: Token}}
- {id: open, none: {}}
- id: client
  client_credentials:
    grant: &grant
      token_url: https://whole.example/token
      revocation_url: https://whole.example/revoke
      scopes: [read]
      client_authentication: basic
      token_parameters: {audience: '{instance}'}
      scope_separator: ' '
      token_response: *answer
    client_id_title: Id
    client_secret_title: Secret
- {id: device, device: {device_authorization_url: https://whole.example/device, grant: *grant}}
- id: service
  fields: [{name: pem, multiline: true}, {name: issuer}]
  jwt_bearer:
    grant: *grant
    assertion: {algorithm: es256, key_field: pem, key_id: k1, issuer: '{issuer}', subject: s, audience: a,
                lifetime: 300s, claims: {scope: read}}
- {id: app, signed_jwt: {assertion: {issuer: me}, placement: {placement: query, name: jwt}}}
- {id: digest, digest: {username_title: User, password_title: Word}}
- id: one
  oauth1:
    request_token_url: https://whole.example/request
    authorization_url: https://whole.example/authorize
    access_token_url: https://whole.example/access
    signature_method: hmac_sha256
    realm: whole
- {id: aws, fields: [{name: region}], aws_sigv4: {service: execute-api, region: '{region}'}}
- id: aws-role
  fields: [{name: account}]
  aws_sigv4:
    service: execute-api
    region: eu-west-1
    assume_role: {role_arn: 'arn:aws:iam::{account}:role/whole', endpoint: https://sts.whole.example/, lifetime: 900s}
- id: login
  fields: [{name: user}, {name: word}]
  session:
    method: POST
    url: https://api.whole.example/login
    headers: {X-Client: cordboard}
    body: {user: '{user}', password: '{word}'}
    encoding: form
    token_pointer: /token
    expires_in_pointer: /ttl
    lifetime: 3600s
    placement: {placement: header, name: X-Session}
- {id: cert, mtls: {}}
- {id: both, all_of: {auth_schemes: [cert, key]}}
actions:
- id: me
  request: {method: GET, path: /me}
- id: list
  title: List
  description: Lists things
  translations: [{language: de, title: Liste, description: Listet}]
  tags: [things]
  input_schema:
    type: object
    properties: {after: {type: string}, filter: {type: string}, q: {type: string}}
  output_schema: {type: array}
  request:
    method: GET
    path: /things/{kind}
    headers: {X-A: b}
    server_variable: place
    parameters:
    - {property: after, name: after, placement: query, style: form, explode: true, allow_reserved: true}
    - {property: filter, name: filter, placement: query, json: true}
    - {property: q, name: q, placement: query}
    constants:
    - {placement: query, name: v, value: 2}
    - {placement: path, name: kind, config_variable: instance}
  paging:
    items_pointer: /data
    last_item: {cursor_property: after, item_pointer: /id}
    max_pages: 10
    more_pointer: /has_more
  idempotency: safe
  timeout: 10s
  auth_schemes: [oauth]
  scopes: [read]
  deprecated: true
  deprecation: {sunset_date: '2030-01-31', successor: make}
  quota_weight: 5
  interaction: synchronous
  volume: batch
  response:
    decoder: xml
    success_statuses: [200, 404]
    output_pointer: /data
    error_message_pointers: [/message]
    members: [{name: a, pointer: /a}, {name: b, header: X-B}, {name: c, value: null}]
  retry: {max_attempts: 2}
  error_rules: [{statuses: [410], action: reset_pagination}]
  required_capabilities: [paging.cursor]
  rate_limits: [{calls: 1, window: 1s}]
- id: make
  input_schema:
    type: object
    properties: {name: {type: string}, parent: {type: string}, picture: {type: string, format: binary}}
  request:
    method: POST
    path: /things
    server_url: https://api.whole.example
    body:
      encoding: xml
      media_type: text/xml
      required: true
      xml_root: thing
      fields:
      - {property: name, name: name, style: form, explode: true, media_type: text/plain}
      - {property: parent, name: parent}
      - {property: picture, name: picture}
    constants: [{placement: body, name: source, value: mesh}]
  idempotency_key: {placement: body, name: request_id}
  async_job:
    status_action: job
    job_property: id
    job_pointer: /job
    state_pointer: /state
    done_states: [done]
    failed_states: [failed]
    interval: 2s
    result_action: job
    result_pointer: /result
  interaction: asynchronous
  examples:
  - name: a thing
    input: {name: Desk}
    config: {instance: main}
    request:
      method: POST
      url: https://api.whole.example/things
      headers: {Content-Type: text/xml}
      body_text: <thing><name>Desk</name></thing>
    response: {status: 201, headers: {Content-Type: application/json}, body: {job: 7}}
    output: {job: 7}
  - name: refused
    request: {method: POST, url: 'https://api.whole.example/things', body: {}}
    response: {status: 429, body_text: Slow down}
    outcome: rate_limited
  form_hints:
  - property: name
    label: Name
    placeholder: A name
    help: What to call it
    group: Main
    order: 1
    widget: text
    choices: {Desk: The desk}
    tab: First
    columns: 2
    translations:
    - {language: de, label: Der Name, placeholder: Ein Name, help: Wie es heißt, group: Allgemein,
       tab: Zuerst, choices: {Desk: Tisch}}
  - {property: picture, accept: [image/png, .jpg], max_bytes: 100000}
  - property: parent
    widget: select
    options:
      action: list
      input: {after: x}
      input_fields: {filter: name}
      value_pointer: /id
      label_pointer: /name
      search_property: q
- id: job
  idempotency_key_header: X-Once
  input_schema: {type: object, properties: {id: {type: string}}}
  request: {method: GET, path: '/jobs/{id}', parameters: [{property: id, name: id, placement: path}]}
  streaming: server_sent_events
"""

_PAGED = """
slug: pages
title: Pages
servers: [{{url: 'https://pages.example'}}]
actions:
- id: list
  input_schema:
    type: object
    properties: {{at: {{type: integer}}, size: {{type: integer}}, whole: {{type: object}}}}
  request:
    method: POST
    path: /list
    parameters:
    - {{property: at, name: at, placement: query}}
    - {{property: size, name: size, placement: query}}
    body: {{encoding: json, property: whole}}
  paging: {paging}
"""

# What cannot stand beside something of WHOLE: other kinds of paging and of tokens, a base.
PARTS = (
    _PAGED.format(paging="{page: {page_property: at, size_property: size, first_page: 1, page_count_pointer: /pages}}"),
    _PAGED.format(paging="{offset: {offset_property: at, limit_property: size, total_pointer: /total}}"),
    _PAGED.format(paging="{link: {}}"),
    _PAGED.format(paging="{next_url: {next_pointer: /next}}"),
    _PAGED.format(paging="{cursor: {cursor_property: at, next_header: X-Next}}"),
    """
slug: more
title: More
servers: [{url: 'https://more.example'}]
extends: {integration: whole, version: 1.0.0, remove: [actions.me]}
auth_schemes:
- {id: cookie, session: {method: GET, url: 'https://more.example/login', token_cookie: sid}}
- {id: header, session: {method: GET, url: 'https://more.example/login', token_header: X-Token}}
- {id: bot, api_key: {placement: path, name: token, prefix: bot}}
actions:
- {id: send, auth_schemes: [bot], request: {method: GET, path: '/{token}/send'}}
config_variables: [{name: hook, secret: true}]
event_types: [{id: sent}]
webhook:
  signature:
    {algorithm: ed25519, header: X-Signature, signed_content: '{timestamp}{body}', timestamp_header: X-Time}
  secret_variable: hook
  id_pointer: /id
  type_header: X-Type
""",
    """
slug: rows
title: Rows
servers: [{url: 'https://{host}:5432'}]
config_variables: [{name: host}, {name: base}, {name: ca}]
auth_schemes: [{id: login, basic: {}}]
database: {engine: postgresql, name: '{base}', max_rows: 50, authority_variable: ca}
actions:
- id: find
  input_schema: {type: object, properties: {id: {type: integer}}}
  request: {method: GET, path: /, parameters: [{property: id, name: id, placement: query}]}
  statement: {text: 'SELECT * FROM thing WHERE id = :id'}
""",
)
