// Which language the page speaks: what was chosen here before, else the browser's, French unless that is English.

import { computed, signal } from "@preact/signals";
import { en } from "./texts/en";
import { fr, type Texts } from "./texts/fr";

export type Language = "fr" | "en";

const KEPT = "language";

function preferred(): Language {
  const kept = globalThis.localStorage?.getItem(KEPT);
  if (kept === "fr" || kept === "en") return kept;
  return globalThis.navigator?.language?.toLowerCase().startsWith("en") ? "en" : "fr";
}

export const language = signal<Language>(preferred());
const texts = computed<Texts>(() => (language.value === "fr" ? fr : en));

/** Every text of the page, in the language that it speaks. */
export const t = (): Texts => texts.value;

export function speak(next: Language): void {
  language.value = next;
  localStorage.setItem(KEPT, next);
  document.documentElement.lang = next;
}
