// Keccak-256 as Ethereum uses it: with the padding from before SHA-3. Browsers have no such hash.

const RATE = 136;
const ROUNDS = 24;
const MOVES = []; // where each lane goes, and how far it turns
const CONSTANTS = [];

for (let round = 0, shift = 1, x = 1, y = 0; round < ROUNDS; round++) {
  [x, y] = [y, (2 * x + 3 * y) % 5];
  MOVES.push([x + 5 * y, BigInt((((round + 1) * (round + 2)) / 2) % 64)]);
  let constant = 0n;
  for (let bit = 0; bit < 7; bit++) {
    if (shift & 1) constant |= 1n << BigInt(2 ** bit - 1);
    shift = shift & 0x80 ? ((shift << 1) ^ 0x171) : shift << 1;
  }
  CONSTANTS.push(constant);
}

const turn = (lane, by) => BigInt.asUintN(64, (lane << by) | (lane >> (64n - by)));

function permute(lanes) {
  for (const constant of CONSTANTS) {
    const columns = [0, 1, 2, 3, 4].map((x) => lanes[x] ^ lanes[x + 5] ^ lanes[x + 10] ^ lanes[x + 15] ^ lanes[x + 20]);
    for (let at = 0; at < 25; at++) lanes[at] ^= columns[(at + 4) % 5] ^ turn(columns[(at + 1) % 5], 1n);
    let carried = lanes[1];
    for (const [to, by] of MOVES) [carried, lanes[to]] = [lanes[to], turn(carried, by)];
    for (let row = 0; row < 25; row += 5) {
      const old = lanes.slice(row, row + 5);
      for (let x = 0; x < 5; x++) lanes[row + x] = old[x] ^ (~old[(x + 1) % 5] & old[(x + 2) % 5]);
    }
    lanes[0] ^= constant;
  }
}

/** The hash of bytes. */
export function keccak256(bytes) {
  const padded = new Uint8Array((Math.floor(bytes.length / RATE) + 1) * RATE);
  padded.set(bytes);
  padded[bytes.length] ^= 0x01;
  padded[padded.length - 1] ^= 0x80;
  const input = new DataView(padded.buffer);
  const lanes = new BigUint64Array(25);
  for (let block = 0; block < padded.length; block += RATE) {
    for (let at = 0; at < RATE / 8; at++) lanes[at] ^= input.getBigUint64(block + 8 * at, true);
    permute(lanes);
  }
  const hash = new DataView(new ArrayBuffer(32));
  for (let at = 0; at < 4; at++) hash.setBigUint64(8 * at, lanes[at], true);
  return new Uint8Array(hash.buffer);
}
