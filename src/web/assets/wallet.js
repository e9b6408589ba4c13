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
  note.className = kind;
  if (note.textContent !== words) note.textContent = words; // it is read aloud once
};
const wallets = new Map();
const accounts = new Map(); // of wallets, as far as they tell this page by themselves
let isBusy = false; // somebody is asked
let sent; // what was sent from this page
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

/** Who may sign, as it stands on the page. */
const signers = () => Array.from(document.querySelectorAll("[data-owner]"), ({ dataset }) =>
  ({ address: dataset.owner, hasSigned: "signed" in dataset }));
const ownersAmong = (accounts) => signers().filter(({ address }) => accounts.some((one) => same(one, address)));
const list = (signers) => signers.map(({ address }) => address).join(", ");

/** Why some accounts of a wallet have nothing to sign here, if they have not. */
function nothingToSign({ info: { name } }, accounts) {
  const owners = ownersAmong(accounts);
  if (!owners.length) {
    return `${name} offers ${accounts.join(", ")}, which is no owner of this Safe. `
      + `Switch there to one of its owners: ${list(signers())}`;
  }
  if (!owners.every(({ hasSigned }) => hasSigned)) return undefined;
  const missing = document.querySelector("[data-missing]")?.textContent ?? "0";
  return `${list(owners)} (${name}) has signed already. Still missing: ${missing} of ${list(signers().filter(({ hasSigned }) => !hasSigned))}`;
}

/** The account that acts: an owner who has yet to sign, or the first one where anybody may. */
async function account(wallet, isOwner) {
  const offered = await ask(wallet, "eth_requestAccounts");
  if (!offered.length) throw new Refused(`${wallet.info.name} offers no account.`);
  if (!isOwner) return offered[0];
  const nothing = nothingToSign(wallet, offered);
  if (nothing) throw new Refused(nothing);
  return ownersAmong(offered).find(({ hasSigned }) => !hasSigned).address;
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

const deeds = {
  async sign(wallet) {
    const { chainId, document: typed } = onPage();
    const signer = await account(wallet, true);
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
    sent = `Sent: transaction ${hash}.`;
    return `${sent} Nothing else is to be done: this page follows until the end.`;
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
  isBusy = true;
  for (const button of panel.querySelectorAll("button")) button.disabled = true;
  try {
    say(`Asking ${wallet.info.name} …`);
    say(await deeds[deed](wallet), "good");
    if (deed === "execute") {
      happened();
      await new Promise((go) => setTimeout(go, SENT_MS)); // once is enough
    }
  } catch (error) {
    say(error instanceof Refused ? error.message : `${wallet.info.name}: ${error?.message ?? error}`, "urgent");
  }
  isBusy = false;
  for (const button of panel.querySelectorAll("button")) button.disabled = false;
  // A button that is disabled loses the focus; whoever has no mouse goes on from where they were.
  if (document.activeElement === document.body) (focused?.isConnected ? focused : panel.querySelector("button"))?.focus();
}

const status = () => document.querySelector("[data-status]")?.dataset.status;

/** What became of what was sent from here. The page says so too, but maybe far from where somebody looks. */
function happened() {
  const now = status();
  if (now === "approved") return;
  panel.querySelector(".hint")?.remove();
  put([]);
  const next = document.querySelector("[data-next]")?.textContent.trim() ?? "";
  const kind = { running: "good", failed: "urgent", expired: "urgent", rejected: "urgent", withdrawn: "urgent" };
  say(`${sent} The request is ${now} now: ${next}.`, kind[now]);
}

/** What can be done here now. */
function possible() {
  if (panel.dataset.deed) return panel.dataset.deed;
  if (!shown("tx", "nonce")) return undefined;
  if (status() === "approved") return shown("execution", "data") && "execute";
  return status() === "proposed" ? "sign" : undefined;
}

/** Puts buttons, or words in place of one, where buttons are, unless they are there. */
function put(all) {
  const place = panel.querySelector("[data-buttons]");
  const now = JSON.stringify(all.map(({ words, wallet }) => [words, wallet?.info.uuid]));
  if (place.dataset.buttons === now) return;
  place.dataset.buttons = now;
  place.replaceChildren(...all.map(({ words, wallet, deed }) => {
    if (!wallet) return Object.assign(document.createElement("p"), { textContent: words });
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: words, disabled: isBusy });
    button.addEventListener("click", () => act(deed, wallet));
    return button;
  }));
}

function offer() {
  const deed = possible();
  panel.hidden = !(deed || sent) || wallets.size === 0;
  if (panel.hidden) return;
  if (sent && deed !== "execute") return happened();
  const hint = panel.querySelector(".hint") ?? Object.assign(document.createElement("p"), { className: "hint" });
  if (hint.textContent !== hints[deed]()) hint.textContent = hints[deed]();
  if (!hint.isConnected) panel.prepend(hint);
  const [buttons, signed, strangers] = [[], [], []];
  for (const wallet of wallets.values()) {
    const known = accounts.get(wallet.info.uuid) ?? [];
    const nothing = deed === "sign" && known.length && nothingToSign(wallet, known);
    if (!nothing) buttons.push({ words: `${words[deed]} with ${wallet.info.name}`, wallet, deed });
    else (ownersAmong(known).length ? signed : strangers).push({ words: `${nothing}.` });
  }
  // Who owns nothing here is told so, unless somebody else is asked.
  put([...signed, ...buttons, ...(buttons.length ? [] : strangers)]);
}

/** Says beside the owners in a part of the page which wallet here has their account. */
function name(part) {
  for (const row of part.querySelectorAll("[data-owner]")) {
    const has = ({ info }) => accounts.get(info.uuid)?.some((one) => same(one, row.dataset.owner));
    row.querySelector("[data-wallets]").textContent = [...wallets.values()].filter(has).map(({ info }) => info.name).join(", ");
  }
}

/** Looks which accounts a wallet lets this page see. Nobody is asked for it. */
async function look(wallet) {
  const known = await wallet.provider.request({ method: "eth_accounts" }).catch(() => []);
  accounts.set(wallet.info.uuid, [known].flat().filter((one) => typeof one === "string"));
  name(document);
  offer();
}

if (panel) {
  addEventListener("eip6963:announceProvider", ({ detail }) => {
    if (typeof detail?.info?.name !== "string" || typeof detail.provider?.request !== "function") return;
    if (wallets.get(detail.info.uuid)?.provider === detail.provider) return;
    wallets.set(detail.info.uuid, detail);
    offer();
    look(detail);
    detail.provider.on?.("accountsChanged", () => look(detail));
  });
  addEventListener("focus", () => wallets.forEach(look)); // somebody comes back from a wallet
  document.addEventListener("fresh", ({ detail }) => name(detail));
  document.addEventListener("live", offer); // what can be done changes with what happens
  offer();
  dispatchEvent(new Event("eip6963:requestProvider"));
}

// Without script the form does the same; but where there is no TLS, browsers do not say that it is from here.
const leave = document.getElementById("sign-out");
leave?.addEventListener("submit", async (event) => {
  event.preventDefault();
  await fetch("/v1/session", { method: "DELETE" }).catch(() => {});
  location.assign(leave.dataset.then);
});
