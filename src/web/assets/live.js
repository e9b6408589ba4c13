// Keeps the live part of a page up to date. The page is complete without this file.
// The part names what it follows: data-live="<request id>", or "all" for any request.

const AT_LEAST_BETWEEN_MS = 700;
const ANYWAY_EVERY_MS = 60_000; // the time left is written by the server, so it ages
const part = () => document.querySelector("[data-live]");
let pending, source;

const refreshSoon = (pause = AT_LEAST_BETWEEN_MS) =>
  (pending ??= setTimeout(() => { pending = undefined; refresh().catch(() => {}); }, pause));

// How the same element is found in a fresh part: by its id, its link, or the details it opens.
function way(element) {
  if (!element || element === part() || !part().contains(element)) return "";
  if (element.id) return `[id="${CSS.escape(element.id)}"]`;
  if (element.href) return `a[href="${CSS.escape(element.getAttribute("href"))}"]`;
  return element.matches("details[id] > summary") ? `[id="${CSS.escape(element.parentNode.id)}"] > summary` : "";
}

async function refresh() {
  if (document.hidden) return; // coming back refreshes
  if (getSelection()?.type === "Range") return refreshSoon(3_000); // somebody compares a hash
  const answer = await fetch(location.href);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = page.querySelector("[data-live]");
  if (!answer.ok || !fresh) return;
  renewForms(page.getElementById("acts"));
  for (const { id } of part().querySelectorAll("details[open][id]"))
    fresh.querySelector(`[id="${CSS.escape(id)}"]`)?.setAttribute("open", "");
  if (fresh.isEqualNode(part())) return;
  const focused = way(document.activeElement);
  const top = focused && document.activeElement.getBoundingClientRect().top;
  const { scrollX, scrollY } = window;
  part().replaceWith(document.adoptNode(fresh));
  const again = focused && part().querySelector(focused);
  scrollTo(scrollX, scrollY);
  if (again) {
    again.focus({ preventScroll: true });
    scrollBy(0, again.getBoundingClientRect().top - top); // what came in above must not push it away
  }
  document.title = page.title;
  document.dispatchEvent(new Event("live"));
  document.getElementById("live-note").textContent = `Updated at ${new Date().toLocaleTimeString()}.`;
}

// What can be done changes as well, but nobody's writing is taken away.
function renewForms(fresh) {
  const old = document.getElementById("acts");
  const written = [...old?.querySelectorAll("textarea, input:checked") ?? []].some(({ value, checked }) => checked || value);
  if (!fresh || !old || written || old.contains(document.activeElement)) return;
  for (const { id } of old.querySelectorAll("details[open][id]"))
    fresh.querySelector(`[id="${CSS.escape(id)}"]`)?.setAttribute("open", "");
  if (!fresh.isEqualNode(old)) old.replaceWith(document.adoptNode(fresh));
}

function follow() {
  source?.close(); // a browser allows few connections: a hidden page keeps none
  if (document.hidden) return;
  source = new EventSource("/v1/events");
  source.onopen = () => refreshSoon();
  source.addEventListener("reload", () => refreshSoon());
  source.addEventListener("request", ({ data }) =>
    [data, "all"].includes(part().dataset.live) && refreshSoon());
}

if (part()) {
  document.addEventListener("visibilitychange", follow);
  setInterval(refreshSoon, ANYWAY_EVERY_MS, 0);
  follow();
}
