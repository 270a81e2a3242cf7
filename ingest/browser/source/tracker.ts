/** What a site says of itself; the attributes `data-…` of the script's tag, in camel case. */
export interface Options {
  /** Where the edge answers, without a slash at the end. It may have a path. */
  apiHost?: string;
  /** The program that codes belong to, as its public id. */
  program?: string;
  /** The domain that codes belong to. */
  domain?: string;
  /** A publishable key. A secret key never belongs on a page. */
  publishableKey?: string;
  /** A parameter that carries a code, beside `via`, `ref`, `aff` and `fpr`. */
  queryParam?: string;
  /** The cookie that keeps the click id; `rt_id` if left out. */
  cookie?: string;
  /** `first-click`: the visitor stays with the first partner. */
  attributionModel?: string;
  /** Not empty: the browser's `Do Not Track` counts as Global Privacy Control does. */
  dnt?: string;
  /** Not empty: no visitor gets a cookie or anything stored. */
  cookieless?: string;
  /** `include`: the edge answers under the site's own domain and may set the cookie. */
  credentials?: RequestCredentials;
  /** Sites, with commas between, whose links get the click id; only `t.js` reads it. */
  outbound?: string;
  /** Where a vendor's script keeps cookies, if not as they are written. @internal */
  jar?: { cookie: string };
  /** Told what the edge answered to an event, and how to write a cookie. @internal */
  answered?: (
    said: Answer,
    write: (name: string, value: string, days: number) => void,
  ) => void;
}

/** A sign-up, or whatever the program counts as a lead; up to 60,000 characters as JSON. */
export interface Lead {
  event_name?: string;
  customer_id?: string;
  email?: string;
  name?: string;
  /** A click id that the page keeps by itself; else the visitor's is taken. */
  click_id?: string;
  [field: string]: unknown;
}

/** What the edge answers to a click. */
export interface Answer {
  click_id?: string;
  cookie_window_days?: number;
  [field: string]: unknown;
}

export interface Tracker {
  /** Report a click. A code in the page's URL needs no call. Never rejects. */
  click(code: string, more?: object): Promise<Answer | undefined>;
  /**
   * Report a lead of a visitor who has clicked. Resolves after the first attempt, whatever
   * comes of it: what fails is sent again later, on other pages too. Never rejects.
   */
  lead(lead?: Lead, kind?: "lead" | "sale"): Promise<Answer | undefined>;
  /** The visitor's click id, if there is one. */
  id(): string | undefined;
  /** Resolves when what waited at the start is sent; only vendors' scripts have it. @internal */
  sent?: Promise<unknown>;
}

/**
 * Whether this is built into a vendor's script: then it reads the attributes and the parameter
 * of the vendor, and not those of ours.
 */
declare const VENDOR: boolean;

const HOUR = 36e5;

/** Do what the browser may refuse. @internal */
export const attempt = <T>(work: () => T): T | undefined => {
  try {
    return work();
  } catch {}
};

// `randomUUID` is missing where there is no https.
const random = (): string =>
  "rt_" + crypto.getRandomValues(new Uint32Array(3)).join("");

/** Start to track. Nothing here throws into the page. */
export const start = (options: Options): Tracker => {
  const { cookie = "rt_id", publishableKey: key } = options;
  // `rt` is the code that was looked at last, also by the same script in another tag.
  const tab: Document & {
    prerendering?: boolean;
    onprerenderingchange?: unknown;
    rt?: string;
  } = document;
  const isPrivate =
    (navigator as { globalPrivacyControl?: boolean }).globalPrivacyControl ||
    (!VENDOR && (options.cookieless || (options.dnt && +navigator.doNotTrack!)));
  const jar: { cookie: string } =
    (!isPrivate &&
      attempt(() => (tab.cookie, (VENDOR && options.jar) || tab))) || { cookie: "" };
  const storage: Record<string, string> =
    (!isPrivate && attempt(() => localStorage)) || {};
  let failures = 0;
  let busy: Promise<Answer> | undefined;
  let timer: number | undefined;
  let current: string | undefined;

  /** The value that one of the names has in a URL, or in cookies after a space. */
  const find = (names: string, among = " " + jar.cookie): string | undefined =>
    among.match(`[?&# ](${names})=([^&#;]+)`)?.[2];

  /** Set a cookie on the widest domain that the browser allows, or on none: `localhost`. */
  const write = (name: string, value: string, days: number): void => {
    const labels = location.hostname.split(".");
    for (let at = labels.length; at-- >= 0 && find(name) != value; )
      jar.cookie =
        `${name}=${value};path=/;samesite=lax;max-age=${days * 86400}` +
        `;domain=${labels.slice(at >>> 0).join(".")}` +
        (location.protocol > "http:" ? ";secure" : "");
  };

  const id = (): string | undefined => {
    look(); // who needs the click does not wait for other tabs
    return find(cookie) || current;
  };

  const remember = (value: string, days = 60): void =>
    write(cookie, (current = value), days);

  /** The names of the events that wait. */
  const names = (): string[] => Object.keys(storage).filter((name) => /^rt: /.test(name));

  /** Whether the edge asked for time, of any page of the origin. */
  const isHeld = (left = +storage.rt_held! - Date.now()): boolean =>
    left > 0 && left < HOUR; // more is a clock that went back

  const deliver = async (name: string, text = storage[name]): Promise<Answer> => {
    const [, ts, kind, own, before] = name.split(" ");
    let seconds = ++failures * (0.5 + Math.random());
    let said: Answer = {};
    try {
      const answer = await fetch(`${options.apiHost}/t/${kind}`, {
        keepalive: true,
        method: "POST",
        credentials: isPrivate ? "omit" : options.credentials,
        body: `{"age":${Date.now() - +ts!},${text!.slice(1)}`,
      });
      seconds = /429|^5/.test(answer.status as never)
        ? +answer.headers.get("retry-after")! || seconds
        : (failures = 0);
      if (!seconds) {
        // Where nobody knows the code, the click before stays.
        said = answer.ok ? await answer.json() : { click_id: before };
        if (id() == own) remember(said.click_id ?? own!, said.cookie_window_days);
        if (VENDOR) options.answered?.(said, write);
      }
    } catch {}
    attempt(() =>
      seconds
        ? (storage.rt_held = (Date.now() + seconds * 1e3) as never)
        : delete storage[name],
    );
    return said;
  };

  /** Send what waits unless the edge asked for time; one page of an origin at once. */
  const drain = async (): Promise<void> => {
    setTimeout(look, 1e3); // wait no longer for other tabs
    const work = async (): Promise<void> => {
      look();
      await busy;
      for (const name of names()) if (!isHeld()) await deliver(name);
    };
    try {
      await navigator.locks.request("rt", work);
    } catch {
      await work();
    }
    clearTimeout(timer);
    timer = (names()[0] && setTimeout(drain, 1e3)) as never;
  };

  /** Queue an event and send it in this tick: the page may be gone in the next. */
  const send = (kind: string, own: string, body: object): Promise<Answer> | undefined => {
    const name = `rt: ${Date.now()} ${kind} ${own}`;
    const text = JSON.stringify({
      program: options.program,
      domain: options.domain,
      ...body,
      key,
    });
    delete storage[names()[49]!]; // so that there are 50 at most
    attempt(() => (storage[name] = text));
    if (!isHeld()) busy = deliver(name, text);
    drain();
    return busy;
  };

  const click = async (code: string, more?: object): Promise<Answer | undefined> =>
    attempt(() => {
      const existing_click_id = id();
      remember(random());
      const own = id();
      return send("click", own + " " + [existing_click_id], {
        id: own,
        existing_click_id,
        code,
        url: location.href.slice(0, 2e3),
        referrer: tab.referrer,
        ...more,
      });
    });

  const lead = async (lead: Lead = {}, kind = "lead"): Promise<Answer | undefined> => {
    // Only beside a key may a lead name a click that has no answer yet.
    look();
    if (!key) await busy;
    return attempt(() => {
      const whose = id();
      const lead_id = random();
      if (whose || lead.click_id)
        return send(kind, lead_id, {
          click_id: whose, // or the page's own id of a click that has no answer yet
          lead_id,
          ...lead,
      });
    });
  };

  /**
   * Look for a code in the URL that the page came with, or has just pushed; once for each.
   * Of tabs that open together the first to have the lock sends the click, and the others
   * find its cookies. A page that asks for the id, reports a lead or is left comes before.
   */
  const look = (): void =>
    attempt(() => {
      const given = find(
        VENDOR ? cookie : cookie + "|dub_id|refp_id|affitor_click_id",
        location.href,
      );
      const code = given || find(options.queryParam + "|via|ref|aff|fpr", location.href);
      if (!code || code == tab.rt || tab.prerendering) return;
      tab.rt = code;
      if (given) remember(given);
      else if (
        code != find("rt_code") &&
        !(options.attributionModel! < "g" && id()) // first-click, not last-click
      ) {
        write("rt_code", code, 1 / 24);
        click(decodeURIComponent(code));
      }
    });

  const push = history.pushState;
  history.pushState = (...given) => {
    look();
    push.apply(history, given);
    drain();
  };
  tab.onprerenderingchange = drain;
  // Firefox has no `pagehide` before a page is loaded, and others no `beforeunload`.
  ["pagehide", "beforeunload"].map((type) => addEventListener(type, look));
  const sent = drain();
  return VENDOR ? { click, lead, id, sent } : { click, lead, id };
};
