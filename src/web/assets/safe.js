// What the owner of a Safe signs, made from its fields alone: the document for the wallet, and the three
// hashes as `SafeTx` and EIP-712 define them.

import { keccak256 } from "./keccak.js";

const SAFE_TX = [
  ["address", "to"], ["uint256", "value"], ["bytes", "data"], ["uint8", "operation"],
  ["uint256", "safeTxGas"], ["uint256", "baseGas"], ["uint256", "gasPrice"],
  ["address", "gasToken"], ["address", "refundReceiver"], ["uint256", "nonce"],
];
const ADDRESS = /^0x[0-9a-f]{40}$/i;
const BYTES = /^0x(?:[0-9a-f]{2})*$/i;
const NUMBER = /^(?:0|[1-9][0-9]*)$/;

const bytesOf = (hex) => Uint8Array.from(hex.slice(2).match(/../g) ?? [], (byte) => parseInt(byte, 16));
const hexOf = (bytes) => "0x" + Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const hashOfHex = (hex) => hexOf(keccak256(bytesOf(hex)));
const hashOfText = (text) => hexOf(keccak256(new TextEncoder().encode(text)));

/** A field as 32 bytes; what does not read as its type is an error. */
function word(type, value) {
  const wrong = () => new Error(`${value} is no ${type}`);
  if (type === "bytes" && BYTES.test(value)) return hashOfHex(value).slice(2);
  if (type === "address" && ADDRESS.test(value)) return value.slice(2).toLowerCase().padStart(64, "0");
  if (!type.startsWith("uint") || !NUMBER.test(value)) throw wrong();
  const number = BigInt(value);
  if (number >> BigInt(type.slice(4))) throw wrong();
  return number.toString(16).padStart(64, "0");
}

function hashOf(name, fields, values) {
  const type = hashOfText(`${name}(${fields.map((field) => field.join(" ")).join(",")})`);
  return hashOfHex(type + fields.map(([type, field]) => word(type, values[field])).join(""));
}

/** Since 1.3.0 the domain names the chain. */
function domainOf(version) {
  const [major, minor] = version.match(/^(\d+)\.(\d+)\.\d+/)?.slice(1).map(Number) ?? [];
  if (!(major >= 1)) throw new Error(`Safes of version ${version} are not known to this page`);
  const safe = [["address", "verifyingContract"]];
  return major > 1 || minor >= 3 ? [["uint256", "chainId"], ...safe] : safe;
}

/** Domain hash, message hash and safeTxHash of a transaction, and the document that has them. */
export function safeTransaction({ chainId, safe, version, tx }) {
  const domainFields = domainOf(version);
  const values = { chainId, verifyingContract: safe };
  const domain = hashOf("EIP712Domain", domainFields, values);
  const message = hashOf("SafeTx", SAFE_TX, tx);
  const named = (fields) => fields.map(([type, name]) => ({ type, name }));
  const document = {
    types: { EIP712Domain: named(domainFields), SafeTx: named(SAFE_TX) },
    primaryType: "SafeTx",
    domain: Object.fromEntries(domainFields.map(([, field]) => [field, values[field]])),
    message: Object.fromEntries(SAFE_TX.map(([, field]) => [field, tx[field]])),
  };
  return { domain, message, safeTx: hashOfHex("0x1901" + domain.slice(2) + message.slice(2)), document };
}

/** A signature in the form that a Safe takes: hardware wallets may end it in 0 or 1. */
export function withUsualV(signature) {
  if (!/^0x[0-9a-f]{130}$/i.test(signature)) throw new Error("the wallet did not answer with a signature of 65 bytes");
  const v = parseInt(signature.slice(-2), 16);
  return signature.slice(0, -2) + (v < 27 ? v + 27 : v).toString(16).padStart(2, "0");
}
