import assert from "node:assert/strict";
import test from "node:test";

import type { JsonObject } from "../src/document.ts";
import { putSecrets } from "../src/secrets.ts";

test("secrets go from where they were typed to where they are wanted", () => {
  const input: JsonObject = { user: { "a/b": null, name: "Ada" }, keys: ["x", null] };
  const values: JsonObject = { user: { "a/b": "hunter2" }, keys: ["x", "hunter3"] };
  const places = [
    { pointer: "/user/a~1b", submittedPointer: "/user/a~1b" },
    { pointer: "/keys/1", submittedPointer: "/keys/1" },
  ];
  assert.deepEqual(putSecrets(input, places, values), {
    user: { "a/b": "hunter2", name: "Ada" },
    keys: ["x", "hunter3"],
  });
});

test("nothing is written over, and nothing where nothing was left free", () => {
  const input: JsonObject = { name: "Ada", token: null };
  const values: JsonObject = { token: "hunter2" };
  const places = [
    { pointer: "/name", submittedPointer: "/token" },
    { pointer: "/__proto__/polluted", submittedPointer: "/token" },
    { pointer: "/gone/token", submittedPointer: "/token" },
    { pointer: "", submittedPointer: "/token" },
    { pointer: "/token", submittedPointer: "/nowhere" },
  ];
  assert.deepEqual(putSecrets(input, places, values), { name: "Ada", token: null });
  assert.equal(({} as JsonObject)["polluted"], undefined);
});
