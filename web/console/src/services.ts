// One colour for each service, the same for everybody and on every screen.

const COLOURS: Record<string, string> = {
  envoy: "c0",
  proxy: "c1",
  auth: "c2",
  catalog: "c3",
  flags: "c4",
  uqi: "c5",
  telemetry: "c6",
};

/** Returns the class of a service's colour. */
export function colour(service: string): string {
  return COLOURS[service] ?? "c7";
}
