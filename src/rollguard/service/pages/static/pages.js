// Keeps a page up to date: when the service says that something changed, it reads the page again and puts the parts
// that differ in their place. Without it every page works the same, and is as old as its last load.

const script = document.querySelector("script[data-events]");
const light = document.getElementById("live");
let events = null;
let reading = false;
let again = false;

function show(text, stale) {
  if (!light || (!light.hidden && light.textContent === text)) return;
  light.hidden = false;
  light.textContent = text;
  light.classList.toggle("stale", stale);
}

function isBusy(part) {
  // Nobody's typing or selecting is taken away.
  const active = document.activeElement;
  const typing = active && part.contains(active) && active.matches("input, select, textarea");
  const chosen = document.getSelection();
  return typing || (chosen && !chosen.isCollapsed && part.contains(chosen.anchorNode));
}

function keyOf(element) {
  return element.id ? `#${CSS.escape(element.id)}` : element.matches("a[href]") ? `a[href="${CSS.escape(element.getAttribute("href"))}"]` : null;
}

function put(part, fresh) {
  if (part.outerHTML === fresh.outerHTML || isBusy(part)) return;
  const focused = part.contains(document.activeElement) ? keyOf(document.activeElement) : null;
  const open = [...part.querySelectorAll("details[open][id]")].map((each) => each.id);
  const scrolled = [...part.querySelectorAll(".scroll")].map((each) => [each.scrollLeft, each.scrollTop]);
  const own = [part.scrollLeft, part.scrollTop];
  part.replaceChildren(...fresh.childNodes);
  part.className = fresh.className;
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  part.querySelectorAll(".scroll").forEach((each, place) => scrolled[place] && each.scrollTo(...scrolled[place]));
  part.scrollTo(...own);
  if (focused) part.querySelector(focused)?.focus({ preventScroll: true });
}

async function refresh() {
  if (reading) {
    again = true;
    return;
  }
  reading = true;
  try {
    do {
      again = false;
      const response = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
      if (response.redirected) {
        location.reload(); // the log-in has ended
        return;
      }
      if (!response.ok) throw new Error(String(response.status));
      const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
      for (const part of document.querySelectorAll("[data-live][id], #as-of")) {
        const other = fresh.getElementById(part.id);
        if (other) put(part, document.adoptNode(other));
      }
      if (events?.readyState === EventSource.OPEN) show("live", false);
    } while (again);
  } catch {
    show("not up to date", true);
  } finally {
    reading = false;
  }
}

if (script && document.querySelector("[data-live][id]")) {
  events = new EventSource(script.dataset.events);
  let lost = false;
  events.addEventListener("open", () => {
    show("live", false);
    if (lost) refresh();
    lost = false;
  });
  events.addEventListener("changed", () => (document.hidden ? (lost = true) : refresh()));
  events.addEventListener("error", () => {
    lost = true;
    const over = events.readyState === EventSource.CLOSED; // the log-in has ended, or the service refuses
    show(over ? "not up to date" : "reconnecting", true);
    if (over) refresh();
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden || !lost) return;
    lost = false;
    refresh();
  });
  addEventListener("pagehide", () => events.close());
}
