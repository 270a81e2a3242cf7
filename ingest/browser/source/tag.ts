/** The script's own tag, and what the page finds under `window`. */
import { attempt, type Options } from "./tracker";

const script = document.currentScript as HTMLScriptElement;

export const options: Options & DOMStringMap = {
  apiHost: new URL(script.src).origin,
  ...script.dataset,
};

type Call = [method: string, ...given: never[]];
type Methods = Record<string, unknown>;
type Callable = ((...call: Call) => unknown) & { q?: Call[] };

/**
 * Make the methods available as `NAME.method(…)` and `NAME("method", …)`, or another value
 * under that name, and do what the page asked of the stub that stood there. Dub's React
 * component puts its stub over them whenever it is rendered again: what that queues is done.
 */
export const install = (
  name: string,
  methods: object,
  waiting = (window as unknown as Record<string, Callable | undefined>)[name]?.q,
  value?: object,
): void => {
  const call = ((method, ...given) =>
    ((methods as Methods)[method] as Callable)(...(given as unknown as Call))) as Callable;
  const push = (each: Call): unknown => attempt(() => call(...each));
  (window as unknown as Methods)[name] =
    value || Object.assign(call, methods, { q: { push } });
  waiting?.map?.(push);
};
