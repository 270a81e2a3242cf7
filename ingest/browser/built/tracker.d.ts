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
}
/** Start to track. Nothing here throws into the page. */
export declare const start: (options: Options) => Tracker;
