import assert from "node:assert/strict";
import { test } from "node:test";
import { LANGUAGES, wordsIn } from "../src/languages.ts";
import { ENGLISH } from "../src/words.ts";
import type { Words } from "../src/words.ts";

const places = (text: string) => [...text.matchAll(/\{\w+\}/g)].map(([place]) => place).sort();

test("each language has every word, with the places of the English one", () => {
  for (const [language, words] of LANGUAGES) {
    assert.deepEqual(Object.keys(words).sort(), Object.keys(ENGLISH).sort(), language);
    for (const [name, word] of Object.entries(ENGLISH) as [keyof Words, string][]) {
      assert.notEqual(words[name].trim(), "", `${language} ${name}`);
      assert.deepEqual(places(words[name]), places(word), `${language} ${name}`);
    }
  }
});

test("the words are those of the language, however it is written, and English where there are none", () => {
  assert.equal(wordsIn("de-CH").required, "erforderlich");
  assert.equal(wordsIn("FR").required, "obligatoire");
  for (const other of [undefined, "", "en-GB", "ja", "__proto__", "constructor"]) {
    assert.equal(wordsIn(other), ENGLISH);
  }
});
