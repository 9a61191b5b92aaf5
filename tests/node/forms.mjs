// Judges forms with the programs that draw them. Reads one JSON document a line, writes one JSON answer a line.
//
// In:  {schema, jsonForms: {schema, uischema, data}, react: {schema, uiSchema, formData}, appsmith, trials}
// Out: {problems: [...], inputs: {jsonForms, react}, trials: [...]}
// A trial is {target, values, formData?}; its answer says what the client makes of the values.
import readline from "node:readline";
import vm from "node:vm";
import React from "react";
import { renderToStaticMarkup } from "react-dom/server";
import Ajv2020 from "ajv/dist/2020.js";
import jsonForms from "@jsonforms/core";
import jsonFormsReact from "@jsonforms/react";
import vanilla from "@jsonforms/vanilla-renderers";
import rjsf from "@rjsf/core";
import { createSchemaUtils } from "@rjsf/utils";
import rjsfAjv from "@rjsf/validator-ajv8";

const Form = rjsf.default ?? rjsf;
const validator = rjsfAjv.default ?? rjsfAjv;
const { createAjv, isVisible } = jsonForms;
const { JsonForms } = jsonFormsReact;
const { vanillaRenderers, vanillaCells } = vanilla;

const said = [];
for (const level of ["log", "warn", "error", "info", "debug"]) {
  console[level] = (...words) => said.push(words.map(String).join(" "));
}
const NOISE = [/useLayoutEffect does nothing on the server/];

// A pattern is strict where it can be, as browsers take the one of an input.
function regExp(pattern) {
  try {
    return new RegExp(pattern, "u");
  } catch {
    return new RegExp(pattern);
  }
}
regExp.code = "new RegExp";

function heard() {
  return said.splice(0).filter((text) => !NOISE.some((each) => each.test(text)));
}

function attempt(problems, what, work) {
  try {
    const found = work();
    for (const text of heard()) problems.push(`${what}: ${text.slice(0, 300)}`);
    return found;
  } catch (error) {
    heard();
    problems.push(`${what}: ${String(error.stack ?? error).slice(0, 600)}`);
    return undefined;
  }
}

function inputs(html) {
  return (html.match(/<(input|select|textarea)\b/g) ?? []).length;
}

function drawnByJsonForms(form) {
  const ajv = createAjv({ allErrors: true, verbose: true, strict: false });
  const html = renderToStaticMarkup(
    React.createElement(JsonForms, { ...form, ajv, renderers: vanillaRenderers, cells: vanillaCells }),
  );
  const wrong = html.match(/No applicable (renderer|cell) found[^<]*/);
  if (wrong) throw new Error(wrong[0]);
  return inputs(html);
}

function drawnByReact(form) {
  const html = renderToStaticMarkup(React.createElement(Form, { ...form, validator, noHtml5Validate: true }));
  const wrong = html.match(/(Unsupported field|Unknown field type|unsupported-field)[^<]*/);
  if (wrong) throw new Error(wrong[0]);
  return inputs(html);
}

// Every expression of an Appsmith document, by the name of the node that it shows or hides.
function expressions(node, found = []) {
  if (Array.isArray(node)) node.forEach((each) => expressions(each, found));
  else if (node && typeof node === "object") {
    if (node.conditionals?.show) found.push([node.identifier ?? node.configProperty, node.conditionals.show, node]);
    for (const [key, value] of Object.entries(node)) if (key !== "conditionals") expressions(value, found);
  }
  return found;
}

function evaluated(text, formData) {
  const body = text.slice(2, -2);
  try {
    const result = vm.runInNewContext(body, { actionConfiguration: { formData } }, { timeout: 1000 });
    return typeof result === "boolean" ? result : "not a boolean";
  } catch {
    return false;
  }
}

// Which controls Appsmith shows: those whose containers all are shown.
function shownByAppsmith(document, formData) {
  const shown = [];
  const visit = (node) => {
    const show = node.conditionals?.show;
    if (show !== undefined && evaluated(show, formData) !== true) return;
    if (node.children) node.children.forEach(visit);
    else shown.push(node.configProperty);
  };
  document.editor.forEach(visit);
  return shown;
}

function shownByJsonForms(form, data) {
  const ajv = createAjv({ allErrors: true, strict: false });
  const shown = [];
  const visit = (element) => {
    if (element.rule && !isVisible(element, data, "", ajv, undefined)) return;
    if (element.elements) element.elements.forEach(visit);
    if (element.scope) shown.push(element.scope.replaceAll("/properties/", ".").slice(2));
  };
  visit(form.uischema);
  return shown;
}

// The names of an object's members that React JSON Schema Form shows for these values, with those inside objects.
function shownByReact(form, data) {
  const utils = createSchemaUtils(validator, form.schema);
  const shown = [];
  const visit = (schema, value, path) => {
    const resolved = utils.retrieveSchema(schema, value);
    if (resolved.anyOf) return;
    for (const [name, inner] of Object.entries(resolved.properties ?? {})) {
      const here = path ? `${path}.${name}` : name;
      if (!inner.anyOf) shown.push(here);
      visit(inner, value && typeof value === "object" ? value[name] : undefined, here);
    }
  };
  visit(form.schema, data, "");
  return shown;
}

function judged(request) {
  const problems = [];
  const judges = {};
  const drawn = {};
  heard();
  attempt(problems, "AJV 2020-12", () => {
    const settings = { allErrors: true, strict: false, validateFormats: false, logger: false };
    const ajv = new Ajv2020({ ...settings, code: { regExp }, ownProperties: true });
    judges.json_schema = ajv.compile(request.schema);
  });
  attempt(problems, "AJV on the schema for JSON Forms", () => {
    judges.json_forms = createAjv({ allErrors: true, strict: false }).compile(request.jsonForms.schema);
  });
  drawn.jsonForms = attempt(problems, "JSON Forms", () => drawnByJsonForms(request.jsonForms));
  drawn.react = attempt(problems, "React JSON Schema Form", () => drawnByReact(request.react));
  attempt(problems, "AJV on the schema for React JSON Schema Form", () => {
    judges.react = (values) => validator.isValid(request.react.schema, values, request.react.schema);
    judges.react(request.react.formData);
  });
  for (const [name, text] of expressions(request.appsmith)) {
    attempt(problems, `Appsmith ${name}`, () => new vm.Script(text.slice(2, -2)));
    if (typeof evaluated(text, {}) !== "boolean") problems.push(`Appsmith ${name}: no strict boolean`);
  }
  const trials = (request.trials ?? []).map((trial) => {
    if (trial.shown === "appsmith") return shownByAppsmith(request.appsmith, trial.values);
    if (trial.shown === "json_forms") return shownByJsonForms(request.jsonForms, trial.values);
    if (trial.shown === "react") return shownByReact(request.react, trial.values);
    return Boolean(judges[trial.target]?.(trial.values));
  });
  heard();
  return { problems, inputs: drawn, trials };
}

for await (const line of readline.createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(judged(JSON.parse(line)))}\n`);
}
