// The few signs that buttons bear; their names stand beside them, for those who do not see them.

import type { JSX } from "preact";

const PATHS = {
  play: "M4 2l10 6-10 6z",
  pause: "M4 2h3v12H4zM9 2h3v12H9z",
  back: "M3 2h2v12H3zM14 2v12L6 8z",
  forward: "M11 2h2v12h-2zM2 2v12l8-6z",
  open: "M2 6V2h4v1.5H3.5V6zM10 2h4v4h-1.5V3.5H10zM2 10h1.5v2.5H6V14H2zM12.5 10H14v4h-4v-1.5h2.5z",
} as const;

export function Icon({ name }: { name: keyof typeof PATHS }): JSX.Element {
  return <svg class="icon" viewBox="0 0 16 16" aria-hidden="true"><path d={PATHS[name]} /></svg>;
}
