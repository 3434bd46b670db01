// The language of the pages of signing in: the one that was chosen here, else the browser's own (what it sends as Accept-Language).
// A page is written in French; each element with `data-en` has its English beside it.

const CHOSEN = "language";
const chosen = localStorage.getItem(CHOSEN);
// With what is behind the #, which the page takes out of it.
const address = location.href;
const first = navigator.languages.map((of) => of.slice(0, 2)).find((of) => of === "fr" || of === "en");

export const language = chosen === "fr" || chosen === "en" ? chosen : first ?? "fr";

// One of two texts.
export const say = (french, english) => (language === "en" ? english : french);

document.documentElement.lang = language;
if (language === "en") {
  for (const element of document.querySelectorAll("[data-en]")) element.textContent = element.dataset.en;
}
const other = document.getElementById("language");
other.textContent = say("English", "Français");
other.lang = say("en", "fr");
other.addEventListener("click", () => {
  localStorage.setItem(CHOSEN, other.lang);
  history.replaceState(null, "", address);
  location.reload();
});
