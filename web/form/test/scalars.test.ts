import assert from "node:assert/strict";
import test from "node:test";

import type { FormField, Json } from "../src/document.ts";
import { localMoment, outOfBounds, readInteger, readJson, readMoment, readNumber } from "../src/scalars.ts";
import { ENGLISH, said } from "../src/words.ts";

test("whole numbers are read as the server reads them", () => {
  for (const [text, value] of [
    ["7", 7],
    [" +7 ", 7],
    ["-0", 0],
    ["7.0", 7],
    ["9007199254740991", 9007199254740991],
  ]) {
    assert.deepEqual(readInteger(String(text), ENGLISH), { value }, String(text));
  }
  assert.deepEqual(readInteger("  ", ENGLISH), {});
  for (const text of ["7.5", "1e3", "0x10", "seven", "٧", "--1"]) {
    assert.deepEqual(readInteger(text, ENGLISH), { problem: ENGLISH.wholeNumber }, text);
  }
  assert.deepEqual(readInteger("9007199254740993", ENGLISH), { problem: ENGLISH.tooLarge });
});

test("numbers are read as the server reads them", () => {
  for (const [text, value] of [
    ["7", 7],
    [".5", 0.5],
    ["5.", 5],
    ["-1e3", -1000],
    ["1E-2", 0.01],
  ]) {
    assert.deepEqual(readNumber(String(text), ENGLISH), { value }, String(text));
  }
  for (const text of ["1,5", "Infinity", "NaN", "0x1", "1e", "."]) {
    assert.deepEqual(readNumber(text, ENGLISH), { problem: ENGLISH.number }, text);
  }
  assert.deepEqual(readNumber("1e999", ENGLISH), { problem: ENGLISH.tooLarge });
});

test("JSON text has one of the types that are asked for", () => {
  assert.deepEqual(readJson('{"a": [1]}', ["object"], ENGLISH), { value: { a: [1] } });
  assert.deepEqual(readJson("[1]", ["object"], ENGLISH), { problem: "must be JSON text of: object" });
  assert.deepEqual(readJson("3", ["integer"], ENGLISH), { value: 3 });
  assert.deepEqual(readJson("plain", ["object"], ENGLISH), { problem: ENGLISH.json });
  assert.deepEqual(readJson("plain", [], ENGLISH), { value: "plain" });
  assert.deepEqual(readJson(" ", [], ENGLISH), {});
});

test("a moment goes out in UTC and comes back in one's own time zone", () => {
  const { value } = readMoment("2026-01-31T09:30:05", ENGLISH);
  assert.match(String(value), /^2026-01-\d\dT\d\d:\d\d:05Z$/);
  assert.equal(localMoment(String(value)), "2026-01-31T09:30:05");
  assert.deepEqual(readMoment("yesterday", ENGLISH), { problem: ENGLISH.moment });
});

test("bounds are the field's own, and characters are counted as JSON Schema counts them", () => {
  const field = (type: FormField["type"], keywords: object): FormField => ({
    id: "a",
    key: "a",
    type,
    residualSchemaJson: JSON.stringify(keywords),
  });
  const cases: [FormField, Json, string][] = [
    [field({ text: {} }, { maxLength: 2 }), "😀😀", ""],
    [field({ text: {} }, { maxLength: 2 }), "abc", "must have at most 2 characters"],
    [field({ text: {} }, { minLength: 2 }), "😀", "must have at least 2 characters"],
    [field({ integer: {} }, { minimum: 3 }), 2, "must be 3 or more"],
    [field({ number: {} }, { exclusiveMaximum: 3 }), 3, "must be less than 3"],
    [field({ list: { item: field({ text: {} }, {}) } }, { minItems: 1 }), [], "must have at least 1 items"],
    [field({ file: {} }, { maxLength: 2 }), "aGVsbG8=", ""],
  ];
  for (const [of, value, text] of cases) assert.equal(outOfBounds(of, value, ENGLISH), text);
});

test("what is put into a word is put in once, as it is", () => {
  assert.equal(said("{a} and {b}", { a: "{b}", b: "$&" }), "{b} and $&");
  assert.equal(said("{constructor}", {}), "{constructor}");
});
