/**
 * The script `t.js`: the tracker, ids on links to other sites, and what pages with the loaders
 * of Dub and Affitor report by. All that these vendors' own scripts have is in `dub.ts` and
 * `affitor.ts`: a page has one vendor's, and loads nothing of the other's.
 */
import { install, options } from "./tag";
import { attempt, start } from "./tracker";

type Given = Record<string, never>;
const sites: Given = attempt(() => JSON.parse(options.domains!)) || {};
const settings = {
  cookie: options.affitorProgramId ? "affitor_click_id" : options.sdkn ? "dub_id" : "rt_id",
  program: options.affitorProgramId,
  domain: options.shortDomain || sites.refer,
  ...sites,
  ...options,
};
const tracker = start(settings);
const { click, id, lead } = tracker;

const methods = {
  ...tracker,
  // Dub's
  ready: (then: () => void) => then(),
  trackClick: (given: Given) => click(given.key!, given),
  trackSale: (given: Given) => lead(given, "sale"),
  trackLead: lead,
};
install("reftide", methods);
install("dubAnalytics", methods);
// An object: if it were a function, React would call what `useAffitor` keeps as state.
const affitor = {
  ...methods,
  signup: (customer_key: string, email: string) => lead({ customer_key, email }),
  getClickId: id,
  // Asked for only if the page wants to know: see `look`.
  get clickId() {
    return id();
  },
  get hasAffiliateAttribution() {
    return !!id();
  },
  loaded: true,
};
install("affitor", affitor, (window as unknown as Given).affitorQueue, affitor);

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
      ("" + settings.outbound)
        .split(/[ ,]+/)
        .some((site) => ("." + url.hostname).endsWith("." + site))
    )
      if (node.method == "get")
        // Its fields replace the query of its URL.
        (event as FormDataEvent).formData?.set(settings.cookie, value);
      else {
        url.searchParams.set(settings.cookie, value);
        node[place] = url as never;
      }
  });

["click", "auxclick", "submit", "formdata"].map((type) => addEventListener(type, decorate, true));
