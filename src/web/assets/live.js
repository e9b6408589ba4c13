// Keeps the live part of a page up to date. The page is complete without this file.
// The part names what it follows: data-live="<request id>", or "all" for any request.

const AT_LEAST_BETWEEN_MS = 700;
const ANYWAY_EVERY_MS = 60_000; // the time left is written by the server, so it ages
const SILENT_AFTER_MS = 6_000; // a stream ends every few minutes, and is there again after three seconds
const AGAIN_MS = 5_000;
const PATIENCE_MS = 30_000; // as long as the service gives itself
const part = () => document.querySelector("[data-live]");
const page = part()?.dataset.page ?? location.href; // a form that was refused stands at another address
let pending, source, again, since;

const refreshSoon = (pause = AT_LEAST_BETWEEN_MS) =>
  (pending ??= setTimeout(() => { pending = undefined; refresh().catch(doubt); }, pause));

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
  const answer = await fetch(page, { signal: AbortSignal.timeout(PATIENCE_MS) });
  const got = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = got.querySelector("[data-live]");
  if (!answer.ok || !fresh) return;
  renewForms(got.getElementById("acts"));
  for (const { id } of part().querySelectorAll("details[open][id]"))
    fresh.querySelector(`[id="${CSS.escape(id)}"]`)?.setAttribute("open", "");
  document.dispatchEvent(new CustomEvent("fresh", { detail: fresh })); // for what scripts add to it
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
  document.title = got.title;
  document.dispatchEvent(new Event("live"));
  document.getElementById("live-note").textContent = `Updated at ${new Date().toISOString().slice(11, 19)}.`;
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

// The stream broke, or a page did not come. If the service stays silent, the page says since when.
function doubt() {
  if (since) return;
  since = new Date();
  setTimeout(check, SILENT_AFTER_MS);
}

async function check() {
  if (!since) return;
  const answer = await fetch(page, { signal: AbortSignal.timeout(AGAIN_MS) }).catch(() => {});
  if (!since) return;
  if (answer && answer.status < 500) {
    answers();
    if (answer.ok) return refreshSoon();
    clearTimeout(again);
    return tell("This page is no longer shown to you, so it stands still. Load it again.");
  }
  tell(`The service has not answered since ${since.toISOString().slice(11, 19)} UTC. What stands here may be old; this page keeps asking.`);
  setTimeout(check, AGAIN_MS);
}

function answers() {
  since = undefined;
  tell("");
}

function tell(words) {
  const note = document.getElementById("silent");
  note.hidden = !words;
  if (note.textContent !== words) note.textContent = words;
}

function follow() {
  source?.close(); // a browser allows few connections: a hidden page keeps none
  clearTimeout(again);
  if (document.hidden) return;
  source = new EventSource("/v1/events");
  source.onopen = () => (answers(), refreshSoon());
  source.onerror = ({ target }) => {
    doubt();
    // It asks again by itself, unless what it got was an answer of another kind: of a proxy, say.
    if (target.readyState === EventSource.CLOSED) again = setTimeout(follow, AGAIN_MS);
  };
  source.addEventListener("reload", () => refreshSoon());
  source.addEventListener("request", ({ data }) =>
    [data, "all"].includes(part().dataset.live) && refreshSoon());
}

if (part()) {
  document.addEventListener("visibilitychange", follow);
  setInterval(refreshSoon, ANYWAY_EVERY_MS, 0);
  follow();
}
