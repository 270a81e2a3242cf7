// Goes the whole way with one vendor's client, unmodified, at an edge: takes the client's
// name, the edge's URL and JSON, and prints what each of its calls gave as one line of JSON.
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { betterAuth } from "better-auth";
import { memoryAdapter } from "better-auth/adapters/memory";
import { dubAnalytics } from "@dub/better-auth";
import { Dub } from "dub";
import { build } from "esbuild";

const [, , name, baseUrl, given] = process.argv;
const { key, clickId, refport } = JSON.parse(given);

// What only a phone has.
const NATIVE = {
  "react-native": `export const Platform = { OS: "ios" };
    export const TurboModuleRegistry = { getEnforcing: () => ({}) };`,
  "@react-native-clipboard/clipboard":
    "export default { hasString: async () => false };",
  "@react-native-async-storage/async-storage": `const kept = new Map();
    export default {
      getItem: async (name) => kept.get(name) ?? null,
      setItem: async (name, value) => void kept.set(name, value),
      removeItem: async (name) => void kept.delete(name),
    };`,
  "react-native-play-install-referrer": "export const PlayInstallReferrer = {};",
};
const phone = {
  name: "phone",
  setup(build) {
    build.onResolve({ filter: /./ }, ({ path }) =>
      path in NATIVE ? { path, namespace: "phone" } : undefined,
    );
    build.onLoad({ filter: /./, namespace: "phone" }, ({ path }) => ({
      contents: NATIVE[path],
    }));
  },
};

const bundled = async (entry) => {
  // Where it finds what is not in the bundle.
  const folder = await mkdtemp("node_modules/.client-");
  const file = join(import.meta.dirname, folder, "client.mjs");
  await build({
    bundle: true,
    entryPoints: [entry],
    external: ["better-auth", "react"],
    format: "esm",
    jsx: "automatic",
    outfile: file,
    platform: "neutral",
    mainFields: ["module", "main"],
    plugins: [phone],
  });
  const client = await import(file);
  await rm(folder, { recursive: true });
  return client;
};

const customer = { customerExternalId: "user_1" };

// A person signs up at a server that has the plugin, with the cookie of the click.
const signUp = async (plugin, cookie) => {
  const auth = betterAuth({
    baseURL: "http://shop.example",
    database: memoryAdapter({ account: [], session: [], user: [], verification: [] }),
    emailAndPassword: { enabled: true },
    plugins: [plugin],
    secret: "only of this test, and long enough",
    telemetry: { enabled: false },
  });
  const request = new Request("http://shop.example/api/auth/sign-up/email", {
    body: JSON.stringify({ email: "a@example.com", name: "Ada", password: "12345678" }),
    headers: { "Content-Type": "application/json", Cookie: `${cookie}=${clickId}` },
    method: "POST",
  });
  const answer = await auth.handler(request);
  return { status: answer.status, cookies: answer.headers.getSetCookie() };
};

const clients = {
  async "react-native"() {
    const native = "node_modules/@dub/react-native/lib/module/index.js";
    const app = await bundled(native);
    app.init({ publishableKey: key, domain: "https://go.yoursite.com", baseUrl });
    const nobody = await app.trackOpen();
    const opened = await app.trackOpen("https://go.yoursite.com/alice");
    const led = await app.trackLead({ ...customer, eventName: "Sign up" });
    const sold = await app.trackSale({ ...customer, amount: 4999, invoiceId: "INV_1" });
    return { nobody, opened, led, sold };
  },
  "dub-better-auth": () =>
    signUp(dubAnalytics({ dubClient: new Dub({ token: key, serverURL: baseUrl }) }), "dub_id"),
  async refport() {
    const { Refport } = await bundled(join(refport, "packages/node/src/index.ts"));
    const { track } = new Refport({ apiKey: key, baseUrl });
    const led = await track.lead({ ...customer, clickId, eventName: "Sign up" });
    const sale = { ...customer, clickId, amount: 4999, invoiceId: "INV_1" };
    const sold = await track.sale(sale);
    const wrong = await track.lead({ ...customer, clickId: "nope", eventName: "x" });
    return { led, sold, wrong: { ...wrong.error, is: wrong.error.constructor.name } };
  },
  async "refport-better-auth"() {
    const { Refport } = await bundled(join(refport, "packages/node/src/index.ts"));
    const plugin = await bundled(join(refport, "packages/better-auth/src/index.ts"));
    const sdk = new Refport({ apiKey: key, baseUrl });
    return signUp(plugin.refportPlugin({ refport: sdk }), "refp_id");
  },
};
console.log(JSON.stringify(await clients[name]()));
