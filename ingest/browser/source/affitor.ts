/** The script `t-affitor.js`: the tracker with all that Affitor's global and its tag have. */
import { install, options } from "./tag";
import { attempt, start } from "./tracker";

const program = options.affitorProgramId;
const tracker = start({
  cookie: "affitor_click_id",
  program,
  answered({ cookie_window_days: days }, write) {
    if (days) write("affitor_aff_url", encodeURIComponent(location.href), days);
  },
  ...options,
});
const { id, lead } = tracker;

// An object: if it were a function, React would call what `useAffitor` keeps as state.
const affitor = {
  ...tracker,
  trackLead: lead,
  signup: (customer_key: string, email: string) => lead({ customer_key, email }),
  /** Shows that the edge is reached; counts nothing. */
  trackTest(said?: object) {
    const additional_data = { ...said, test_mode: true, program_id: +program! };
    fetch(`${options.apiHost}/api/v1/track/lead`, {
      keepalive: true,
      method: "POST",
      body: JSON.stringify({ additional_data }),
    }).catch(() => 0);
  },
  getClickId: () => id() || null,
  getData: () => ({
    clickId: affitor.clickId,
    programId: affitor.programId,
    hasAttribution: affitor.hasAffiliateAttribution,
    affiliateUrl: affitor.affiliateUrl,
  }),
  // Asked for only if the page wants to know: see `look`.
  get clickId() {
    return id() || null;
  },
  get customerCode() {
    return id() || null;
  },
  get hasAffiliateAttribution() {
    return !!id();
  },
  get affiliateUrl(): string | null {
    const found = attempt(() => document.cookie.match(/affitor_aff_url=([^;]+)/)![1]!);
    return found ? decodeURIComponent(found) : null;
  },
  debugMode: !!options.affitorDebug,
  programId: +program!,
  loaded: true,
  init() {},
};
install(
  "affitor",
  affitor,
  (window as unknown as Record<string, []>).affitorQueue,
  affitor,
);
