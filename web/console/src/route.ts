// Where the person is: all of it is in the address, behind the `#`, so that a link leads back to what was seen.

import { useEffect, useState } from "preact/hooks";

/** A screen, what it is about, and how it is narrowed down. */
export interface Route {
  screen: string;
  id: string;
  query: URLSearchParams;
}

function current(): Route {
  const [path = "", query = ""] = location.hash.replace(/^#\/?/, "").split("?", 2);
  const [screen = "", ...rest] = path.split("/");
  return { screen: screen || "attention", id: rest.map(decodeURIComponent).join("/"), query: new URLSearchParams(query) };
}

/** Returns the address of a screen. */
export function to(screen: string, id = "", query: Record<string, string> = {}): string {
  const kept = Object.entries(query).filter(([, value]) => value !== "");
  const path = id ? `/${id.split("/").map(encodeURIComponent).join("/")}` : "";
  return `#/${screen}${path}${kept.length ? `?${new URLSearchParams(kept)}` : ""}`;
}

/** Goes on within the screen without a new step in the browser's history. */
export function narrow(route: Route, change: Record<string, string>): void {
  const query = { ...Object.fromEntries(route.query), ...change };
  history.replaceState(null, "", to(route.screen, route.id, query));
  dispatchEvent(new HashChangeEvent("hashchange"));
}

/** Returns the route, and draws again when it changes. */
export function useRoute(): Route {
  const [route, setRoute] = useState(current);
  useEffect(() => {
    const changed = () => setRoute(current());
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}
