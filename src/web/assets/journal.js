// Checks the journal in the browser: every hash is computed again from the texts that the API gives, and
// each entry must follow from the one before. `countersign journal verify` does the same, and also looks for
// what is missing at the end.

import { sha256 } from "./sha256.js";

const PAGE = 500;
const GENESIS = "0".repeat(64);
const part = document.getElementById("verify");
const [button, noted, bar, said] = ["button", "noted", "bar", "said"].map((name) => part.querySelector(`[data-${name}]`));

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
const bytes = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (pair) => parseInt(pair, 16));
const text = (text) => new TextEncoder().encode(text);

function number(value) {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigInt64(0, BigInt(value));
  return new Uint8Array(view.buffer);
}

/** prev_hash, seq, at, then request, actor and kind with their lengths, then the body. */
function hashOf(entry) {
  const named = [bytes((entry.request ?? "").replaceAll("-", "")), text(entry.actor), text(entry.kind)];
  const parts = [bytes(entry.prev_hash), number(entry.seq), number(entry.at_micros)];
  for (const it of named) parts.push(number(it.length), it);
  parts.push(text(entry.body));
  const all = new Uint8Array(parts.reduce((length, it) => length + it.length, 0));
  parts.reduce((at, it) => (all.set(it, at), at + it.length), 0);
  return hex(sha256(all));
}

/** What is wrong with an entry that should follow `last`, if anything is. */
function wrong(entry, last) {
  if (entry.seq !== last.seq + 1) return "an entry before it is missing";
  if (entry.prev_hash !== last.hash) return "it does not follow from the entry before it";
  if (entry.at_micros === null) return "its time is none";
  if (entry.hash !== hashOf(entry)) return "its content was changed";
}

async function ask(path) {
  const answer = await fetch(path);
  if (answer.ok) return answer.json();
  throw new Error(`the service answered ${answer.status}`);
}

async function verify() {
  const sought = noted.value.trim().toLowerCase().replace(/^0x/, "");
  if (sought && !/^[0-9a-f]{64}$/.test(sought)) return [false, "Not checked: the noted head is no hash of 64 digits."];
  let [last, found] = [{ seq: 0, hash: GENESIS }, undefined];
  const [newest] = await ask("/v1/journal?limit=1");
  bar.max = Math.max(newest?.seq ?? 0, 1);
  for (let page; page?.length !== 0; ) {
    page = await ask(`/v1/journal/chain?after=${last.seq}&limit=${PAGE}`);
    for (const entry of page) {
      const because = wrong(entry, last);
      if (because) return [false, `Broken at entry ${entry.seq}: ${because}. The ${last.seq} before it fit.`];
      last = entry;
      if (entry.hash === sought) found = entry.seq;
    }
    bar.value = last.seq;
  }
  if (last.seq < (newest?.seq ?? 0)) return [false, `Broken after entry ${last.seq}: there were ${newest.seq} entries.`];
  const whole = `${last.seq} entries, chain whole, head ${last.hash}.`;
  if (!sought) return [true, whole];
  if (found) return [true, `${whole} The noted head is entry ${found}.`];
  return [false, `${whole} But no entry has the noted head: the journal up to it was replaced, unless the head is mistyped or of another service.`];
}

button.addEventListener("click", async () => {
  button.disabled = true;
  [bar.hidden, bar.value, said.textContent, said.className] = [false, 0, "", ""];
  try {
    const [is, words] = await verify();
    [said.textContent, said.className] = [words, is ? "good" : "urgent"];
  } catch (error) {
    [said.textContent, said.className] = [`Not checked: ${error.message}.`, "urgent"];
  }
  [bar.hidden, button.disabled] = [true, false];
});
