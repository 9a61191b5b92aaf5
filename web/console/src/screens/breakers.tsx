// Circuit breakers: what is held back, why, and what operators want of them.

import type { JSX } from "preact";
import { Breaker_Cause, Breaker_Override, Breaker_State } from "../../gen/cordboard/proxy/v1/proxy_service_pb.ts";
import type { Breaker } from "../../gen/cordboard/proxy/v1/proxy_service_pb.ts";
import { useLive } from "../live.ts";
import { useMesh } from "../mesh.ts";
import { Act, Asked, Filter, Mark, Panel } from "../parts.tsx";
import type { Mood } from "../parts.tsx";
import { to } from "../route.ts";
import type { Route } from "../route.ts";
import { ago, last, word } from "../say.ts";
import { Table } from "../table.tsx";

const PAGE = 1000;
const EVERY_SECONDS = 2;
const MOODS: Partial<Record<Breaker_State, Mood>> = {
  [Breaker_State.OPEN]: "bad",
  [Breaker_State.HALF_OPEN]: "warn",
  [Breaker_State.CLOSED]: "good",
};
const WISHES = [
  [Breaker_Override.OPEN, "Hold back", "Holds all calls back, until somebody lets it judge by itself again."],
  [Breaker_Override.CLOSED, "Let through", "Lets all calls through, however many fail."],
  [Breaker_Override.AUTO, "Let it judge", "Lets it judge by itself again."],
] as const;

/** Shows the breakers; those that hold something back stand first. */
export function Breakers({ route }: { route: Route }): JSX.Element {
  const mesh = useMesh();
  const found = useLive(() => mesh.proxy.listBreakers({ pageSize: PAGE }), [], EVERY_SECONDS);
  const wanted = (route.query.get("q") ?? "").toLowerCase();
  const set = async (row: Breaker, override: Breaker_Override, reason: string) => {
    const { integration, host, action } = row;
    await mesh.breakers.overrideBreaker({ integration, host, action, override, reason });
    found.again();
  };
  return (
    <Panel title="Circuit breakers">
      <div class="filters">
        <Filter route={route} name="q" label="Integration or host has" />
      </div>
      <Asked of={found}>
        {(page) => (
          <Table
            label="Circuit breakers"
            rows={page.breakers
              .filter((row) => `${row.integration} ${row.host}`.toLowerCase().includes(wanted))
              .sort((a, b) => weight(b) - weight(a))}
            keyOf={(row) => [row.integration, row.host, row.cause, row.action, row.connection].join(" ")}
            empty="There are none: a breaker is there once a host was called."
            columns={[
              {
                title: "Integration",
                cell: (row) => <a href={to("integrations", last(row.integration))}>{last(row.integration)}</a>,
              },
              { title: "Host", cell: (row) => row.host },
              { title: "Of", cell: (row) => [last(row.connection), row.action].filter(Boolean).join(" ") || "all" },
              { title: "Cause", width: 12, cell: (row) => word(Breaker_Cause, row.cause) },
              {
                title: "State",
                width: 11,
                cell: (row) => <Mark mood={MOODS[row.state] ?? "plain"}>{word(Breaker_State, row.state)}</Mark>,
              },
              { title: "Failed", width: 13, isFigure: true, cell: (row) => <Failed row={row} /> },
              { title: "Tries again", width: 13, cell: (row) => ago(row.retryTime) },
              { title: "Override", width: 10, cell: (row) => <Override row={row} /> },
              {
                title: "Do",
                width: 27,
                cell: (row) =>
                  row.connection ? (
                    ""
                  ) : (
                    <span class="acts">
                      {WISHES.filter(([wish]) => isOpenTo(row, wish)).map(([wish, label, asks]) => (
                        <Act
                          key={label}
                          label={label}
                          asks={asks}
                          reason="optional"
                          isDangerous={wish === Breaker_Override.OPEN}
                          act={(reason) => set(row, wish, reason)}
                        />
                      ))}
                    </span>
                  ),
              },
            ]}
          />
        )}
      </Asked>
    </Panel>
  );
}

function isOpenTo(row: Breaker, wish: Breaker_Override): boolean {
  const now = row.override || Breaker_Override.AUTO;
  return now !== wish;
}

function weight(row: Breaker): number {
  const state = row.state === Breaker_State.OPEN ? 2 : row.state === Breaker_State.HALF_OPEN ? 1 : 0;
  return state + (isOpenTo(row, Breaker_Override.AUTO) ? 0.5 : 0);
}

function Failed({ row }: { row: Breaker }): JSX.Element {
  if (row.failures === 0) return <>{`0 of ${row.calls}`}</>;
  return <a href={to("traces", "", { integration: last(row.integration), errors: "1" })}>{`${row.failures} of ${row.calls}`}</a>;
}

function Override({ row }: { row: Breaker }): JSX.Element {
  return isOpenTo(row, Breaker_Override.AUTO) ? <Mark mood="warn">{word(Breaker_Override, row.override)}</Mark> : <>none</>;
}
