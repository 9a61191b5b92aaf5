// The choice of a workspace, for screens that show what belongs to one.

import type { JSX } from "preact";
import { useLive } from "./live.ts";
import type { Live } from "./live.ts";
import { useMesh } from "./mesh.ts";
import { Asked, Choice, everything } from "./parts.tsx";
import type { Route } from "./route.ts";
import { last } from "./say.ts";

/** Asks for the workspaces' ids. */
export function useWorkspaces(): Live<string[]> {
  const mesh = useMesh();
  return useLive(
    () =>
      everything(
        (pageToken) => mesh.workspaces.listWorkspaces({ pageSize: 1000, pageToken }),
        (page) => page.workspaces.map((each) => last(each.name)),
      ),
    [],
  );
}

/** Draws what belongs to the workspace that is chosen; the first one, until one is. */
export function InWorkspace(given: {
  route: Route;
  others?: JSX.Element;
  children: (workspace: string) => JSX.Element;
}): JSX.Element {
  const found = useWorkspaces();
  const { route } = given;
  return (
    <Asked of={found}>
      {(ids) => {
        const chosen = route.query.get("workspace") || ids[0] || "";
        return (
          <>
            <div class="filters">
              <Choice route={route} name="workspace" label="Workspace" choices={ids.map((id) => [id, id] as const)} />
              {given.others}
            </div>
            {chosen ? given.children(chosen) : <p class="empty">There is no workspace yet.</p>}
          </>
        );
      }}
    </Asked>
  );
}
