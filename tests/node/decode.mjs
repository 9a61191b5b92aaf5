// An independent decoder of sealed records (format v1): written from the format's description, with node:crypto alone.
// `node decode.mjs VECTORS` opens every vector, makes sure that what was changed does not open, and prints the counts.
import { createDecipheriv, hkdfSync, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";

const uint = (value) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
};

const tlv = (...items) =>
  Buffer.concat(
    items.flatMap(([tag, value]) => {
      const bytes = Buffer.isBuffer(value) ? value : typeof value === "string" ? Buffer.from(value) : uint(value);
      const head = Buffer.alloc(5);
      head.writeUInt8(tag);
      head.writeUInt32BE(bytes.length, 1);
      return [head, bytes];
    }),
  );

const gcm = (key, nonce, text, aad) => {
  const cipher = createDecipheriv("aes-256-gcm", key, nonce, { authTagLength: 16 });
  cipher.setAAD(aad);
  cipher.setAuthTag(text.subarray(text.length - 16));
  return Buffer.concat([cipher.update(text.subarray(0, text.length - 16)), cipher.final()]);
};

export const open = (record, key, place) => {
  let at = 0;
  const take = (length) => {
    if (at + length > record.length) throw new Error("cut");
    return record.subarray(at, (at += length));
  };
  if (take(3).toString("latin1") !== "GW1" || take(1)[0] !== 1) throw new Error("not a record of format v1");
  const keyId = take(take(1)[0]).toString("latin1");
  const keyVersion = take(4).readUInt32BE();
  const dekId = Buffer.from(take(16));
  const wrapped = take(take(2).readUInt16BE());
  if (wrapped.length !== 60) throw new Error("wrapped key");
  const salt = take(32);
  const nonce = take(12);
  const commitment = take(32);
  const text = record.subarray(at);
  if (text.length < 16) throw new Error("cut");

  const format = [1, "GW1"];
  const owner = [[3, place.workspace], [4, place.resource]];
  const wrapAad = tlv(format, ...owner, [7, dekId], [8, keyId], [9, keyVersion]);
  const dataAad = tlv(format, [2, 1], ...owner, [5, place.field], [6, place.version], [7, dekId]);

  const dek = gcm(key, wrapped.subarray(0, 12), wrapped.subarray(12), wrapAad);
  const info = Buffer.concat([Buffer.from("gw/cred/v1"), dataAad]);
  // Node takes at most 1024 bytes of info, and names here are far shorter.
  const okm = Buffer.from(hkdfSync("sha256", dek, salt, info, 64));
  if (!timingSafeEqual(okm.subarray(32), commitment)) throw new Error("commitment");
  return gcm(okm.subarray(0, 32), nonce, text, dataAad);
};

const refused = (attempt) => {
  try {
    attempt();
  } catch {
    return 1;
  }
  throw new Error("something changed was opened");
};

const { vectors } = JSON.parse(readFileSync(process.argv[2], "utf8"));
const counts = { opened: 0, refused: 0 };
for (const vector of vectors) {
  const record = Buffer.from(vector.record, "hex");
  const key = Buffer.from(vector.key, "hex");
  if (open(record, key, vector).toString("hex") !== vector.secret) throw new Error(`${vector.resource}: another secret`);
  counts.opened += 1;
  for (let position = 0; position < record.length; position += 7) {
    const changed = Buffer.from(record);
    changed[position] ^= 1;
    counts.refused += refused(() => open(changed, key, vector));
  }
  for (const length of [0, 4, 40, record.length - 1]) {
    counts.refused += refused(() => open(record.subarray(0, length), key, vector));
  }
  for (const name of ["workspace", "resource", "field"]) {
    counts.refused += refused(() => open(record, key, { ...vector, [name]: `${vector[name]}x` }));
  }
  counts.refused += refused(() => open(record, key, { ...vector, version: vector.version + 1 }));
}
console.log(JSON.stringify(counts));
