// Signing with the wallets a person has (EIP-6963, EIP-1193). The page is complete without this file, but
// for the button. What is signed is made here, from the fields that stand on the page, and only if its
// hashes are those that stand there too.

import { safeTransaction, withUsualV } from "./safe.js";

const SLOW_MS = 20_000;
const SENT_MS = 30_000; // by then the chain shows what was sent, or it was lost
const FIELDS = ["to", "value", "data", "operation", "safeTxGas", "baseGas", "gasPrice", "gasToken", "refundReceiver", "nonce"];
const NOBODY = "0x" + "0".repeat(40);
const REJECTED = 4001;
const UNKNOWN_CHAIN = 4902;

const panel = document.getElementById("wallet");
const say = (words, kind = "") => {
  const note = panel.querySelector("[role=status]");
  [note.textContent, note.className] = [words, kind];
};
const wallets = new Map();
const same = (one, other) => one?.toLowerCase() === other?.toLowerCase();
const shown = (kind, name) => document.querySelector(`[data-${kind}="${name}"]`)?.textContent.trim();

class Refused extends Error {}

/** Asks a wallet, and says so when it keeps one waiting: its window may be behind this one. */
async function ask(wallet, method, params = []) {
  const slow = setTimeout(say, SLOW_MS, `${wallet.info.name} has not answered yet. Look for its window, or at the device.`);
  try {
    return await wallet.provider.request({ method, params });
  } catch (error) {
    if (error?.code === REJECTED) throw new Refused(`Rejected in ${wallet.info.name}: nothing was signed or sent.`);
    throw error;
  } finally {
    clearTimeout(slow);
  }
}

/** The account that acts: one of `owners`, or the first one where anybody may. */
async function account(wallet, owners) {
  const accounts = await ask(wallet, "eth_requestAccounts");
  const found = owners ? accounts.find((one) => owners.some((owner) => same(one, owner))) : accounts[0];
  if (found) return found;
  const names = accounts.length ? accounts.join(", ") : "no account";
  throw new Refused(`${wallet.info.name} offers ${names}, which is no owner of this Safe. `
    + `Choose one of its owners there, and try again: ${owners.join(", ")}`);
}

/** Has the wallet look at the chain of the Safe: many refuse to sign for another one. */
async function toChain(wallet, chainId) {
  const wanted = "0x" + BigInt(chainId).toString(16);
  if (same(await ask(wallet, "eth_chainId"), wanted)) return;
  try {
    await ask(wallet, "wallet_switchEthereumChain", [{ chainId: wanted }]);
  } catch (error) {
    if (error instanceof Refused || error?.code !== UNKNOWN_CHAIN) throw error;
    throw new Refused(`${wallet.info.name} does not know chain ${chainId}. Add it there, and try again.`);
  }
  if (!same(await ask(wallet, "eth_chainId"), wanted)) throw new Refused(`${wallet.info.name} stayed on another chain than ${chainId}.`);
}

/** The Safe transaction as it stands on the page. */
function onPage() {
  const gas = shown("tx", "gas") === "0";
  const zero = { safeTxGas: "0", baseGas: "0", gasPrice: "0", gasToken: NOBODY, refundReceiver: NOBODY };
  const field = (name) => (gas && name in zero ? zero[name] : shown("tx", name));
  const tx = Object.fromEntries(FIELDS.map((name) => [name, field(name)]));
  const [chainId, safe, version] = ["chainId", "safe", "version"].map((name) => shown("tx", name));
  const made = safeTransaction({ chainId, safe, version, tx });
  for (const name of ["domain", "message", "safeTx"]) {
    if (!same(made[name], shown("hash", name))) {
      throw new Refused("The hashes on this page are not those of the transaction on this page. Do not sign it anywhere, and tell whoever runs this service.");
    }
  }
  return { chainId, safe, document: made.document };
}

async function post(path, body) {
  const sent = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) };
  const answer = await fetch(path, sent).catch(() => {
    throw new Refused("The service did not answer. Whether it took this shows when this page is loaded again.");
  });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(said.title ?? `The service answered ${answer.status}.`);
  return said;
}

const owners = () => Array.from(document.querySelectorAll("[data-owner]"), (one) => one.dataset.owner);

const deeds = {
  async sign(wallet) {
    const { chainId, document: typed } = onPage();
    const signer = await account(wallet, owners());
    await toChain(wallet, chainId);
    document.getElementById("hashes")?.scrollIntoView({ block: "center" });
    say(`Compare the hashes in ${wallet.info.name} with those on this page, then sign there.`);
    const signature = await ask(wallet, "eth_signTypedData_v4", [signer, JSON.stringify(typed)]);
    await post(`/v1/requests/${panel.dataset.request}/confirmations`, { signature: withUsualV(signature) });
    return `Signed by ${signer}.`;
  },
  async execute(wallet) {
    const { chainId, safe } = onPage();
    const [data, gas] = [shown("execution", "data"), shown("execution", "gas")];
    const from = await account(wallet);
    await toChain(wallet, chainId);
    const limit = gas && { gas: "0x" + BigInt(gas).toString(16) };
    const hash = await ask(wallet, "eth_sendTransaction", [{ from, to: safe, data, value: "0x0", ...limit }]);
    return `Sent: transaction ${hash}. Nothing else is to be done: this page follows until the end.`;
  },
  async "sign-in"(wallet) {
    const address = await account(wallet);
    const challenge = await post("/v1/session/challenge", { address, chain_id: Number(panel.dataset.chain) });
    const text = "0x" + Array.from(new TextEncoder().encode(challenge.message), (byte) => byte.toString(16).padStart(2, "0")).join("");
    const signature = await ask(wallet, "personal_sign", [text, address]);
    await post("/v1/session", { message: challenge.message, signature });
    if (panel.dataset.back) location.assign(panel.dataset.back);
    else location.reload();
    return `Signed in as ${address}.`;
  },
};

const words = { sign: "Sign", execute: "Execute", "sign-in": "Sign in" };
const hints = {
  sign: () => `${document.getElementById("signatures")?.textContent}. Owners sign here, each with the wallet that holds their key.`,
  execute: () => "Enough owners signed. Anyone may execute it now, and pays for the gas.",
  "sign-in": () => "Choose the wallet that you are known by here.",
};

async function act(deed, wallet) {
  const focused = document.activeElement;
  for (const button of panel.querySelectorAll("button")) button.disabled = true;
  try {
    say(`Asking ${wallet.info.name} …`);
    say(await deeds[deed](wallet), "good");
    if (deed === "execute") await new Promise((go) => setTimeout(go, SENT_MS)); // once is enough
  } catch (error) {
    say(error instanceof Refused ? error.message : `${wallet.info.name}: ${error?.message ?? error}`, "urgent");
  }
  for (const button of panel.querySelectorAll("button")) button.disabled = false;
  // A button that is disabled loses the focus; whoever has no mouse goes on from where they were.
  if (document.activeElement === document.body) (focused?.isConnected ? focused : panel.querySelector("button"))?.focus();
}

/** What can be done here now. */
function possible() {
  if (panel.dataset.deed) return panel.dataset.deed;
  if (!shown("tx", "nonce")) return undefined;
  const status = document.querySelector("[data-status]")?.dataset.status;
  if (status === "approved") return shown("execution", "data") && "execute";
  return status === "proposed" ? "sign" : undefined;
}

function offer() {
  const deed = possible();
  panel.hidden = !deed || wallets.size === 0;
  if (panel.hidden) return;
  const buttons = panel.querySelector("[data-buttons]");
  const hint = panel.querySelector(".hint") ?? Object.assign(document.createElement("p"), { className: "hint" });
  if (hint.textContent !== hints[deed]()) hint.textContent = hints[deed]();
  if (!hint.isConnected) panel.prepend(hint);
  const fresh = Array.from(wallets.values(), (wallet) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = `${words[deed]} with ${wallet.info.name}`;
    button.addEventListener("click", () => act(deed, wallet));
    return button;
  });
  const now = JSON.stringify([deed, [...wallets.keys()]]);
  if (buttons.dataset.buttons === now) return;
  buttons.dataset.buttons = now;
  buttons.replaceChildren(...fresh);
}

if (panel) {
  addEventListener("eip6963:announceProvider", ({ detail }) => {
    if (typeof detail?.info?.name !== "string" || typeof detail.provider?.request !== "function") return;
    wallets.set(String(detail.info.uuid), detail);
    offer();
  });
  document.addEventListener("live", offer); // what can be done changes with what happens
  offer();
  dispatchEvent(new Event("eip6963:requestProvider"));
}

const leave = document.getElementById("sign-out");
leave?.addEventListener("submit", async (event) => {
  event.preventDefault();
  await fetch("/v1/session", { method: "DELETE" }).catch(() => {});
  location.assign(leave.dataset.then);
});
