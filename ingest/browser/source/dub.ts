/**
 * The script `t-dub.js`: the tracker under Dub's global, with all attributes of Dub's tag but
 * `outbound`, which `t.js` has. Partner and discount of a link are kept where Dub keeps them.
 */
import { install, options } from "./tag";
import { attempt, start, type Answer } from "./tracker";

type Given = Record<string, never>;
const COOKIE = "dub_id";
const read = (text?: string): Given => attempt(() => JSON.parse(text!)) || {};
const sites = read(options.domains);
const kept: Record<string, unknown> = read(options.cookieOptions);
if (kept.expiresInDays) kept["max-age"] = (kept.expiresInDays as number) * 86400;

const jar = {
  get cookie() {
    return document.cookie;
  },
  set cookie(text: string) {
    // Of two attributes with one name, the last counts.
    if (/^dub/.test(text)) for (const name in kept) text += `;${name}=${kept[name]}`;
    document.cookie = text;
  },
};

const known: Answer = attempt(() =>
  JSON.parse(decodeURIComponent(document.cookie.match(/dub_partner_data=([^;]+)/)![1]!)),
) || { partner: null, discount: null };
(window as unknown as Record<string, Answer>).DubAnalytics = known;

const tracker = start({
  cookie: COOKIE,
  domain: options.shortDomain || sites.refer,
  jar,
  queryParam: attempt(() => JSON.parse(options.queryParams!).join("|")),
  answered({ click_id: clickId, partner, discount, cookie_window_days }, write) {
    if (partner)
      write(
        "dub_partner_data",
        // Readers of the cookie decode names, or all of it.
        JSON.stringify(Object.assign(known, { clickId, partner, discount })).replace(
          /[^ -~]+|[%&#;]/g,
          encodeURIComponent,
        ),
        cookie_window_days!,
      );
  },
  ...options,
});
const { click, id, lead, sent } = tracker;

install("dubAnalytics", {
  ...tracker,
  /** Call when partner and discount are known; another tab that hangs is not waited for. */
  ready: (then: () => void) =>
    Promise.race([sent, new Promise((end) => setTimeout(end, 2e3))]).then(then),
  trackClick: (given: Given) => click(given.key!, given),
  trackSale: (given: Given) => lead(given, "sale"),
  trackLead: lead,
});
// A visit by no link, unless a click is known once what the page came with is sent.
if (sites.site)
  sent!.then(() => {
    if (!id()) click("_root", { domain: sites.site });
  });
