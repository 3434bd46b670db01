// The other language, one press away on every page.

import type { JSX } from "preact";
import { language, speak, t } from "./language";

export function LanguageButton(): JSX.Element {
  const other = language.value === "fr" ? "en" : "fr";
  return <button id="language" type="button" class="plain" lang={other} onClick={() => speak(other)}>{t().otherLanguage}</button>;
}
