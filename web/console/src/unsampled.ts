// What is only looked at makes no traces of its own: the console would show itself to itself.

/** Returns a W3C `traceparent` that asks for no record. */
export function unsampled(): string {
  const random = (bytes: number) =>
    Array.from(crypto.getRandomValues(new Uint8Array(bytes)), (each) => each.toString(16).padStart(2, "0")).join("");
  return `00-${random(16)}-${random(8)}-00`;
}
