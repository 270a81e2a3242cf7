// Fetches the live part of a page again while the page can be seen.
const EVERY = 2000;
const part = document.querySelector("[data-live]");
const parse = globalThis.trustedTypes
  ? globalThis.trustedTypes.createPolicy("reftide-live", { createHTML: (text) => text })
  : { createHTML: (text) => text };
let etag = "";

async function refresh() {
  const answer = await fetch(part.dataset.live, etag ? { headers: { "If-None-Match": etag } } : {});
  if (answer.status === 401) return location.reload();
  part.classList.toggle("stale", answer.status >= 400);
  if (answer.status !== 200) return;
  const now = answer.headers.get("ETag");
  if (now === etag) return;
  etag = now;
  const page = new DOMParser().parseFromString(parse.createHTML(await answer.text()), "text/html");
  for (const one of part.querySelectorAll("details[open]")) page.getElementById(one.id)?.setAttribute("open", "");
  // What somebody is in stays: the next one comes in two seconds.
  if (part.contains(document.activeElement) || !getSelection().isCollapsed) etag = "";
  else part.replaceChildren(...page.body.childNodes);
}

async function again() {
  if (!document.hidden) await refresh().catch(() => part.classList.add("stale"));
  setTimeout(again, EVERY);
}

if (part) setTimeout(again, EVERY);
