// What the form itself says. Every word can be replaced, for other languages.

/** The words of a form; `{…}` stands for what is put in. */
export interface Words {
  required: string;
  optional: string;
  deprecated: string;
  none: string;
  empty: string;
  choose: string;
  yes: string;
  no: string;
  example: string;
  include: string;
  add: string;
  remove: string;
  name: string;
  value: string;
  kind: string;
  kept: string;
  loading: string;
  more: string;
  localTime: string;
  jsonText: string;
  atLeastOne: string;
  exactlyOne: string;
  atMostOne: string;
  allOfThem: string;
  and: string;
  summary: string;
  summaryOne: string;
  isRequired: string;
  wholeNumber: string;
  number: string;
  tooLarge: string;
  shorter: string;
  longer: string;
  least: string;
  most: string;
  above: string;
  below: string;
  fewItems: string;
  manyItems: string;
  json: string;
  jsonType: string;
  entryName: string;
  twice: string;
  moment: string;
  fileSize: string;
  fileRead: string;
  fileKind: string;
  fileBytes: string;
}

/** English. */
export const ENGLISH: Words = {
  required: "required",
  optional: "optional",
  deprecated: "deprecated",
  none: "None",
  empty: "(empty text)",
  choose: "Choose",
  yes: "Yes",
  no: "No",
  example: "Example: {example}",
  include: "Fill in {label}",
  add: "Add to {label}",
  remove: "Remove {label}",
  name: "Name",
  value: "Value",
  kind: "Kind of {label}",
  kept: "A value is stored. Leave this empty to keep it.",
  loading: "Loading what can be chosen.",
  more: "There are more: type to search.",
  localTime: "In your own time zone.",
  jsonText: "As JSON text.",
  atLeastOne: "At least one of these is needed: {groups}.",
  exactlyOne: "Exactly one of these is needed: {groups}.",
  atMostOne: "At most one of these can be filled in: {groups}.",
  allOfThem: "All of these are needed: {groups}.",
  and: " with ",
  summary: "There are {count} problems",
  summaryOne: "There is a problem",
  isRequired: "is required",
  wholeNumber: "must be a whole number",
  number: "must be a number",
  tooLarge: "is too large a number to travel exactly",
  shorter: "must have at most {bound} characters",
  longer: "must have at least {bound} characters",
  least: "must be {bound} or more",
  most: "must be {bound} or less",
  above: "must be more than {bound}",
  below: "must be less than {bound}",
  fewItems: "must have at least {bound} items",
  manyItems: "must have at most {bound} items",
  json: "must be JSON text",
  jsonType: "must be JSON text of: {types}",
  entryName: "needs a name for each value",
  twice: "has a name twice",
  moment: "must be a date and a time",
  fileSize: "must be at most {bound} MB",
  fileRead: "cannot be read",
  fileKind: "must be a file of these: {kinds}",
  fileBytes: "must be a file of at most {bound} bytes",
};

/** Returns a word with its places filled, each once. */
export function said(word: string, values: { [place: string]: string | number }): string {
  return word.replace(/\{(\w+)\}/g, (whole, place: string) =>
    Object.hasOwn(values, place) ? String(values[place]) : whole,
  );
}
