// Drives a Safe Transaction Service with Safe's own client, as a wallet's back end would. Reads the
// scene from standard input, prints what each step gave; tests/stories/mailbox_kit.rs compares it.

import { createRequire } from 'node:module'
import { text } from 'node:stream/consumers'

const require = createRequire(`${process.env.NODE_MODULES}/here.js`)
const { default: SafeApiKit } = require('@safe-global/api-kit')
const { EthSafeSignature, buildSignatureBytes } = require('@safe-global/protocol-kit')
const { createWalletClient, http } = require('viem')
const { privateKeyToAccount } = require('viem/accounts')

const scene = JSON.parse(await text(process.stdin))
const kit = new SafeApiKit({ chainId: BigInt(scene.chain_id), txServiceUrl: scene.root })
const said = {}

await kit.proposeTransaction({
  safeAddress: scene.safe,
  safeTransactionData: scene.tx,
  safeTxHash: scene.hash,
  senderAddress: scene.sender,
  senderSignature: scene.signatures[0],
  origin: scene.origin,
})
said.transaction = await kit.getTransaction(scene.hash)
await kit.confirmTransaction(scene.hash, scene.signatures[1])
// As protocol-kit writes the signature of an owner that is a contract. It leaves the address in it in
// mixed case, which means nothing there.
const { owner: contract, data } = scene.contract
const ofContract = buildSignatureBytes([new EthSafeSignature(contract, data, true)])
await kit.confirmTransaction(scene.hash, ofContract.toLowerCase())
said.confirmations = await kit.getTransactionConfirmations(scene.hash)
said.queue = await kit.getPendingTransactions(scene.safe, { currentNonce: scene.nonce })
said.next_nonce = await kit.getNextNonce(scene.safe)
said.at_nonce = await kit.getMultisigTransactions(scene.safe, { nonce: scene.nonce })

const owner = privateKeyToAccount(scene.owner_key)
await kit.addSafeDelegate({
  safeAddress: scene.safe,
  delegateAddress: scene.delegate,
  delegatorAddress: owner.address,
  label: 'countersign',
  signer: createWalletClient({ account: owner, transport: http('http://127.0.0.1:1') }),
})
said.delegates = await kit.getSafeDelegates({ safeAddress: scene.safe })

console.log(JSON.stringify(said))
