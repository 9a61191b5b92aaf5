import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { active, counting, holds } from "../src/conditions.ts";
import type { Condition, FormField, Json } from "../src/document.ts";

declare const VECTORS: string;

interface Vectors {
  conditions: { condition: Condition; values: { [id: string]: Json }; holds: boolean }[];
  objects: { name: string; fields: FormField[]; values: { [id: string]: Json }; active: string[] }[];
}

const vectors = JSON.parse(readFileSync(`${VECTORS}/conditions.json`, "utf8")) as Vectors;

test("there are vectors of every kind", () => {
  assert.ok(vectors.conditions.length > 40);
  assert.ok(vectors.objects.length > 3);
});

test("every condition holds or not as the server says", () => {
  for (const [index, vector] of vectors.conditions.entries()) {
    assert.equal(
      holds(vector.condition, (id) => vector.values[id]),
      vector.holds,
      `condition ${index}`,
    );
  }
});

test("the fields of an object count or not as the server says", () => {
  for (const { name, fields, values, active: expected } of vectors.objects) {
    assert.deepEqual([...active(fields, (id) => values[id])].sort(), [...expected].sort(), name);
  }
});

test("a field that does not count takes with it what hangs on it", () => {
  const present = (fieldId: string): Condition => ({ compare: { fieldId, operator: "COMPARE_OPERATOR_PRESENT" } });
  const fields: FormField[] = [
    { id: "a", key: "a", type: { text: {} } },
    { id: "b", key: "b", type: { text: {} }, activeWhen: present("a") },
    { id: "c", key: "c", type: { text: {} }, activeWhen: present("b"), defaultJson: '"x"' },
  ];
  const without = new Map<string, Json>([["b", "typed"]]);
  assert.deepEqual([...active(fields, (id) => without.get(id))], ["a"]);
  assert.deepEqual([...counting(fields, (id) => without.get(id)).keys()], []);
  const all = new Map<string, Json>([
    ["a", "typed"],
    ["b", "typed"],
  ]);
  assert.deepEqual(
    [...counting(fields, (id) => all.get(id))],
    [
      ["a", "typed"],
      ["b", "typed"],
      ["c", "x"],
    ],
  );
});
