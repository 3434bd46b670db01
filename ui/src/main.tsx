// The operator's page.

import "./style.css";
import { render } from "preact";
import { App } from "./App";
import { version } from "./coverage";
import { language } from "./language";
import { begin, look, player, refreshHolds, refreshStatus, trouble, view } from "./state";
import { now } from "./zone";

const STATUS_MS = 3000;
const STATUS_WHILE_LOST_MS = 1000;
const FOLLOW_MS = 1000;
const HOLDS_MS = 30_000;

const fail = (error: unknown): void => { trouble.value = error; };

/** Does it again and again while the page is seen, and says when it fails. */
function every(ms: () => number, task: () => void | Promise<void>): void {
  const turn = async (): Promise<void> => {
    try {
      if (!document.hidden) await task();
    } catch (error) {
      fail(error);
    }
    setTimeout(() => void turn(), ms());
  };
  setTimeout(() => void turn(), ms());
}

document.documentElement.lang = language.value;
render(<App />, document.body);
begin().catch(fail);
let silent: unknown = null;
every(() => (player.value?.lostSince.value != null ? STATUS_WHILE_LOST_MS : STATUS_MS), async () => {
  try {
    await refreshStatus();
    // What it could not say before, it says now; what the operator was told of something else stays.
    if (silent !== null && trouble.value === silent) trouble.value = null;
    silent = null;
  } catch (error) {
    silent = error;
    throw error;
  }
});
every(() => FOLLOW_MS, () => {
  const { start, end, follow } = view.value;
  if (follow && !document.getElementById("bar")?.matches(":active")) look(now() - (end - start) * 0.95, now() + (end - start) * 0.05);
  version.value++;
});
every(() => HOLDS_MS, refreshHolds);
