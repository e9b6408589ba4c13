// The test wallets of the devnet, offered as extensions offer theirs (EIP-6963, EIP-1193). A wallet asks
// before it signs or sends; its key is in the service, and no page ever has it.

const REJECTED = 4001;
const UNKNOWN_CHAIN = 4902;
const ASKS_FIRST = ["personal_sign", "eth_signTypedData_v4", "eth_sendTransaction"];
// The standard wants a picture inside the address; the pages here show none.
const ICON = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'%3E%3Ccircle cx='4' cy='4' r='4' fill='%236b3fa0'/%3E%3C/svg%3E";

const failed = (code, message) => Object.assign(new Error(message), { code });

async function call(path, body) {
  const answer = await fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  const { result, error } = await answer.json();
  if (error) throw failed(error.code, error.message);
  return result;
}

const made = (name, content, attributes = {}) => {
  const element = Object.assign(document.createElement(name), attributes);
  element.append(...[content].flat());
  return element;
};

/** Shows what is asked, as a wallet would beside the page, which can be looked at meanwhile; waits for a yes or a no. */
function agreed({ name, address }, { question, agree, lines }) {
  const heading = made("h2", question, { id: "test-wallet-asks", tabIndex: -1 });
  const facts = lines.flatMap(([label, value]) => [made("dt", label), made("dd", value)]);
  const yes = made("button", agree, { type: "button" });
  const no = made("button", "Reject", { type: "button", className: "reject" });
  const dialog = made("dialog", [
    made("header", [made("strong", name), made("p", `${address}, a test wallet of the devnet`)]),
    heading,
    made("dl", facts, { className: "facts", tabIndex: 0 }),
    made("footer", [yes, no]),
  ], { className: "test-wallet" });
  dialog.setAttribute("aria-labelledby", heading.id);
  document.body.append(dialog);
  return new Promise((resolve) => {
    const gone = new AbortController();
    const close = (answer) => (gone.abort(), dialog.remove(), resolve(answer));
    yes.addEventListener("click", () => close(true));
    no.addEventListener("click", () => close(false));
    addEventListener("keydown", ({ key }) => key === "Escape" && close(false), { signal: gone.signal });
    dialog.show();
    heading.focus();
  });
}

function provider(wallet, chain) {
  const { address } = wallet;
  const request = async ({ method, params = [] }) => {
    if (method === "eth_requestAccounts" || method === "eth_accounts") return [address];
    if (method === "eth_chainId") return chain;
    if (method === "wallet_switchEthereumChain") {
      if (params[0]?.chainId === chain) return null;
      throw failed(UNKNOWN_CHAIN, "a test wallet knows the chain of the devnet only");
    }
    const asked = { address, method, params };
    if (ASKS_FIRST.includes(method) && !await agreed(wallet, await call("/devnet/wallet/show", asked)))
      throw failed(REJECTED, "rejected");
    return call("/devnet/wallet", asked);
  };
  return Object.freeze({ request, on() {}, removeListener() {} });
}

const { chain_id: chain, wallets } = await (await fetch("/devnet/wallets")).json();
const announce = () => {
  for (const detail of details) dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail }));
};
const details = wallets.map((wallet) => {
  const info = { uuid: `devnet-${wallet.address}`, name: wallet.name, icon: ICON, rdns: "localhost.devnet" };
  return Object.freeze({ info, provider: provider(wallet, chain) });
});
addEventListener("eip6963:requestProvider", announce);
announce();
