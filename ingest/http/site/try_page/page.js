// Shows how a click and its leads arrive. The tracker beside it is the one that websites use.
const LOOK_AGAIN = 300;
const byId = (id) => document.getElementById(id);
const customers = new Map(); // by id: name, and whether it is recorded
window.reftide ||= (...call) => (reftide.q ||= []).push(call);

function showClick() {
  const id = reftide("id");
  if (typeof id != "string" || !id.startsWith("clk_")) return setTimeout(showClick, LOOK_AGAIN);
  byId("click").textContent = `The edge has accepted your click, and it is durable. Its id: ${id}`;
  byId("lead").textContent = "Now sign up.";
  byId("button").disabled = false;
}

function showCustomers() {
  const recorded = [...customers.values()].filter((customer) => customer.partner);
  byId("count").textContent = recorded.filter(({ partner }) => partner == "jane").length;
  byId("customers").replaceChildren(
    ...recorded.map(({ name, partner, seconds }) => {
      const item = document.createElement("li");
      item.textContent = `${name}: recorded for ${partner} after ${seconds} s`;
      return item;
    }),
  );
}

async function look() {
  const waiting = [...customers].filter(([, { partner }]) => !partner).map(([id]) => id);
  if (!waiting.length) return;
  const query = new URLSearchParams(waiting.slice(-10).map((id) => ["id", id]));
  const answer = await fetch(`/try/customers?${query}`).catch(() => null);
  for (const [id, partner] of Object.entries(answer?.ok ? await answer.json() : {})) {
    const customer = customers.get(id);
    customer.partner = partner;
    customer.seconds = ((performance.now() - customer.began) / 1000).toFixed(1);
    byId("lead").textContent = `A worker has recorded the lead of ${customer.name}.`;
  }
  showCustomers();
  setTimeout(look, LOOK_AGAIN);
}

byId("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = new FormData(event.target).get("name");
  const id = "try-" + crypto.getRandomValues(new Uint32Array(2)).join("");
  const began = performance.now();
  const answer = await reftide("lead", { customer_id: id, event_name: "Sign up", name });
  if (answer?.click_id === undefined) {
    byId("lead").textContent = "The edge did not take the lead; the script sends it again.";
  } else {
    byId("lead").textContent = `The edge has accepted the lead of ${name}.`;
  }
  customers.set(id, { name, began });
  look();
});

showClick();
