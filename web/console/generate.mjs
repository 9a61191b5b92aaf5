// Makes the types of the RPCs that the console calls, from the descriptors that an installation makes of the protos.
// Only those RPCs and what they speak of are taken: the page stays small, and a new RPC elsewhere does not change it.
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  CodeGeneratorRequestSchema,
  CodeGeneratorResponseSchema,
  FieldDescriptorProto_Label,
  FieldDescriptorProto_Type,
  FileDescriptorProtoSchema,
  FileDescriptorSetSchema,
} from "@bufbuild/protobuf/wkt";

const here = fileURLToPath(new URL(".", import.meta.url));
const DESCRIPTORS = join(here, "..", "..", "services", "cordboard", "api.binpb");
const OUT = join(here, "gen");
const PLUGIN = createRequire(import.meta.url).resolve("@bufbuild/protoc-gen-es/bin/protoc-gen-es");

/** Writes the types anew. */
export function generate() {
  const { rpcs, unread } = JSON.parse(readFileSync(join(here, "rpcs.json"), "utf8"));
  const { file: files } = fromBinary(FileDescriptorSetSchema, readFileSync(DESCRIPTORS));
  const kept = pruned([...files, health()], new Set(rpcs), new Set(unread));
  const request = create(CodeGeneratorRequestSchema, {
    fileToGenerate: kept.map((file) => file.name).filter((name) => !name.startsWith("google/protobuf/")),
    parameter: "target=ts,import_extension=ts",
    protoFile: kept,
  });
  const done = spawnSync(process.execPath, [PLUGIN], {
    input: toBinary(CodeGeneratorRequestSchema, request),
    maxBuffer: 64 * 1024 * 1024,
    stdio: ["pipe", "pipe", "inherit"],
  });
  const answer = fromBinary(CodeGeneratorResponseSchema, done.stdout);
  if (done.status !== 0 || answer.error) throw new Error(answer.error || `the generator ended with ${done.status}`);
  rmSync(OUT, { recursive: true, force: true });
  for (const { name, content } of answer.file) {
    const path = join(OUT, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }
}

/** Returns the files with nothing in them but these RPCs, without options, and the types that they reach. */
function pruned(files, rpcs, unread) {
  const homes = new Map();
  for (const file of files) {
    const note = (prefix, outermost, type) => {
      const name = `${prefix}.${type.name}`;
      homes.set(name, { file, type, outermost: outermost ?? name });
      for (const each of [...(type.nestedType ?? []), ...(type.enumType ?? [])]) note(name, outermost ?? name, each);
    };
    const prefix = file.package ? `.${file.package}` : "";
    for (const each of [...file.messageType, ...file.enumType]) note(prefix, undefined, each);
  }
  const missing = new Set(rpcs);
  const reached = new Set();
  const imports = new Map(files.map((file) => [file.name, new Set()]));
  const reach = (from, name) => {
    const { file, outermost } = homes.get(name);
    if (file !== from) imports.get(from.name).add(file.name);
    if (reached.has(outermost)) return;
    reached.add(outermost);
    follow(file, homes.get(outermost).type, outermost);
  };
  const follow = (file, type, name) => {
    if (!("field" in type)) return;
    type.field = type.field.filter((field) => !unread.has(`${name}.${field.name}`.slice(1)));
    for (const field of type.field) if (field.typeName) reach(file, field.typeName);
    for (const each of type.nestedType) follow(file, each, `${name}.${each.name}`);
  };
  for (const file of files) {
    for (const service of file.service) {
      const name = `${file.package}.${service.name}`;
      service.method = service.method.filter((method) => missing.delete(`${name}/${method.name}`));
      for (const method of service.method) {
        reach(file, method.inputType);
        reach(file, method.outputType);
      }
    }
    file.service = file.service.filter((service) => service.method.length > 0);
  }
  if (missing.size > 0) throw new Error(`no such RPCs: ${[...missing].join(", ")}`);
  for (const file of files) {
    const prefix = file.package ? `.${file.package}` : "";
    const isReached = (type) => reached.has(`${prefix}.${type.name}`);
    // What is Google's own comes with the runtime, whole.
    if (!file.name.startsWith("google/protobuf/")) {
      file.messageType = file.messageType.filter(isReached);
      file.enumType = file.enumType.filter(isReached);
      file.dependency = [...imports.get(file.name)].sort();
      file.publicDependency = [];
    }
    file.extension = [];
    withoutOptions(file);
  }
  return files.filter((file) => file.messageType.some((each) => isOf(file, each, reached)) || file.service.length > 0
    || file.enumType.some((each) => isOf(file, each, reached)));
}

/** Returns what the console asks of gRPC's health protocol, which no proto of ours describes. */
function health() {
  const answer = ".grpc.health.v1.HealthCheckResponse";
  const field = (name, number, type, typeName = "", label = FieldDescriptorProto_Label.OPTIONAL) => ({
    name,
    number,
    type,
    label,
    ...(typeName && { typeName }),
  });
  const { STRING, MESSAGE, ENUM } = FieldDescriptorProto_Type;
  const words = ["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
  const entry = ".grpc.health.v1.HealthListResponse.StatusesEntry";
  return create(FileDescriptorProtoSchema, {
    name: "grpc/health/v1/health.proto",
    package: "grpc.health.v1",
    syntax: "proto3",
    messageType: [
      {
        name: "HealthCheckResponse",
        field: [field("status", 1, ENUM, `${answer}.ServingStatus`)],
        enumType: [{ name: "ServingStatus", value: words.map((name, number) => ({ name, number })) }],
      },
      { name: "HealthListRequest" },
      {
        name: "HealthListResponse",
        field: [field("statuses", 1, MESSAGE, entry, FieldDescriptorProto_Label.REPEATED)],
        nestedType: [
          {
            name: "StatusesEntry",
            field: [field("key", 1, STRING), field("value", 2, MESSAGE, answer)],
            options: { mapEntry: true },
          },
        ],
      },
    ],
    service: [
      {
        name: "Health",
        method: [
          { name: "List", inputType: ".grpc.health.v1.HealthListRequest", outputType: ".grpc.health.v1.HealthListResponse" },
        ],
      },
    ],
  });
}

function isOf(file, type, reached) {
  return reached.has(`${file.package ? `.${file.package}` : ""}.${type.name}`);
}

/** Takes every option off but the one that makes a field a map. */
function withoutOptions(node) {
  const isEntry = node.options?.mapEntry === true;
  if (!isEntry) node.options = undefined;
  for (const list of ["messageType", "enumType", "service", "field", "nestedType", "value", "method", "oneofDecl"])
    for (const each of node[list] ?? []) withoutOptions(each);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) generate();
