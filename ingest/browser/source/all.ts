/**
 * The script `t.js`: the tracker, ids on links to other sites, and the globals that pages
 * with the scripts of Dub and Affitor call. It reads the attributes of their tags too.
 */
import { install, options } from "./tag";
import { attempt, start } from "./tracker";

type Given = Record<string, never>;
const sites: Given = attempt(() => JSON.parse(options.domains!)) || {};
const settings = {
  cookie: options.affitorProgramId ? "affitor_click_id" : options.sdkn ? "dub_id" : "rt_id",
  program: options.affitorProgramId,
  domain: sites.refer,
  ...sites,
  ...options,
};
const { cookie, outbound } = settings;
const tracker = start(settings);
const { click, id, lead } = tracker;

const methods = {
  ...tracker,
  // Dub's
  ready: (then: () => void) => then(),
  trackClick: (given: Given) => click(given.key!, given),
  trackSale: (given: Given) => lead(given, "sale"),
  trackLead: lead,
  // Affitor's
  signup: (customer_key: string, email: string) => lead({ customer_key, email }),
  getClickId: id,
  clickId: id(),
  hasAffiliateAttribution: !!id(),
  loaded: true,
  init() {},
};
install("reftide", methods);
install("dubAnalytics", methods);
install("affitor", methods, (window as unknown as Given).affitorQueue);

/** Put the id on a link or a form that leads to one of the other sites. */
const decorate = (event: Event): void =>
  attempt(() => {
    const value = id();
    const node: HTMLAnchorElement & HTMLFormElement = (
      event.composedPath()[0] as Element
    ).closest("[href],form")!;
    const place = node.href ? "href" : "action";
    const url = new URL(node[place]);
    if (
      value &&
      ("" + outbound)
        .split(/[ ,]+/)
        .some((site) => ("." + url.hostname).endsWith("." + site))
    )
      if (node.method == "get")
        // Its fields replace the query of its URL.
        node.addEventListener("formdata", ({ formData }) => formData.set(cookie, value));
      else {
        url.searchParams.set(cookie, value);
        node[place] = url as never;
      }
  });

["click", "auxclick", "submit"].map((type) => addEventListener(type, decorate, true));
