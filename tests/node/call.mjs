// Calls the mesh as any Node.js program would: @grpc/grpc-js, stubs from protos/, TLS and a token.
// Reads {address, ca, token, protos, googleapis, connection} as JSON from standard input; writes what came back.
import { readFileSync } from 'node:fs';
import grpc from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';

const given = JSON.parse(readFileSync(0, 'utf8'));
const load = (file) =>
  grpc.loadPackageDefinition(
    protoLoader.loadSync(file, { includeDirs: [given.protos, given.googleapis], longs: String, enums: String, oneofs: true, keepCase: true }),
  ).cordboard;
const { catalog } = load('cordboard/catalog/v1/catalog_service.proto');
const { proxy } = load('cordboard/proxy/v1/proxy_service.proto');

const credentials = grpc.credentials.combineChannelCredentials(
  grpc.credentials.createSsl(readFileSync(given.ca)),
  grpc.credentials.createFromMetadataGenerator((_, done) => {
    const metadata = new grpc.Metadata();
    metadata.set('authorization', `Bearer ${given.token}`);
    done(null, metadata);
  }),
);
const call = (client, method, request) =>
  new Promise((resolve) => {
    client[method](request, { deadline: Date.now() + 60_000 }, (error, answer) =>
      resolve(error ? { code: error.code, details: error.details } : answer),
    );
  });

const catalogs = new catalog.v1.CatalogService(given.address, credentials);
const proxies = new proxy.v1.ProxyService(given.address, credentials);
const integration = await call(catalogs, 'GetIntegration', { name: 'integrations/acme-desk' });
const missing = await call(catalogs, 'GetIntegration', { name: 'integrations/nothing' });
const executed = await call(proxies, 'Execute', {
  connection: given.connection, action: 'get_me', input_json: '{}', output_format: 'OUTPUT_FORMAT_JSON',
});
const pages = [];
const stream = proxies.ExecuteStream({
  connection: given.connection, action: 'list_tickets', input_json: '{"limit": 50}', max_pages: 2,
  output_format: 'OUTPUT_FORMAT_JSON',
});
for await (const page of stream) pages.push(page.item_count);
console.log(JSON.stringify({ integration, missing, executed, pages }));
catalogs.close();
proxies.close();
