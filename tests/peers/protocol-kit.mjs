// The JavaScript peer: `@safe-global/protocol-kit`, and viem, which it is built on. Reads questions
// from standard input, one JSON object a line, and answers each with a line.

import {
  EthSafeSignature,
  SafeProvider,
  buildSignatureBytes,
  calculateSafeTransactionHash,
  decodeMultiSendData,
  encodeMultiSendData,
  generateEIP712Signature,
  generateSignature,
  generateTypedData,
  getEip3770NetworkPrefixFromChainId,
} from '@safe-global/protocol-kit'
import { encodeFunctionData, hashDomain, hashStruct, parseAbi } from 'viem'
import { answerAll } from './answer.mjs'

// The kit's own names of the ten fields. Big numbers stay decimal strings, as its API takes them.
const transaction = (tx) => ({
  to: tx.to,
  value: tx.value,
  data: tx.data,
  operation: tx.operation,
  safeTxGas: tx.safe_tx_gas,
  baseGas: tx.base_gas,
  gasPrice: tx.gas_price,
  gasToken: tx.gas_token,
  refundReceiver: tx.refund_receiver,
  nonce: tx.nonce,
})

const typedDataArgs = (question) => ({
  safeAddress: question.safe,
  safeVersion: question.safe_version,
  chainId: BigInt(question.chain_id),
  data: transaction(question.safe_tx),
})

const hashOf = ({ safeAddress, safeVersion, chainId, data }) =>
  calculateSafeTransactionHash(safeAddress, data, safeVersion, chainId)

// The kit wants a node beside a key, and asks it for nothing here but the chain's number.
const provider = (chainId) => ({
  request: async ({ method }) => {
    if (method === 'eth_chainId') return `0x${BigInt(chainId).toString(16)}`
    throw new Error(`nobody answers ${method} here`)
  },
})

const answers = {
  hashes(question) {
    const args = typedDataArgs(question)
    const { domain, types, message } = generateTypedData(args)
    return {
      domain_hash: hashDomain({ domain, types }),
      message_hash: hashStruct({ data: message, types, primaryType: 'SafeTx' }),
      safe_tx_hash: hashOf(args),
    }
  },

  async sign(question) {
    const args = typedDataArgs(question)
    const signatures = []
    for (const { key, kind } of question.signers) {
      const signer = new SafeProvider({ provider: provider(question.chain_id), signer: key })
      signatures.push(
        kind === 'eth_sign'
          ? await generateSignature(signer, hashOf(args))
          : await generateEIP712Signature(signer, args),
      )
    }
    return { packed: buildSignatureBytes(signatures) }
  },

  pack(question) {
    const given = question.signatures
    const signatures = given.map(({ owner, signature }) => new EthSafeSignature(owner, signature))
    const packed = buildSignatureBytes(signatures)
    return { packed, owners: signatures.map(({ signer }) => signer) }
  },

  batch(question) {
    const packed = encodeMultiSendData(question.calls.map((call) => ({ ...call, operation: 0 })))
    const abi = parseAbi(['function multiSend(bytes transactions)'])
    return { calldata: encodeFunctionData({ abi, args: [packed] }) }
  },

  calls(question) {
    return { calls: decodeMultiSendData(question.calldata) }
  },

  short_name(question) {
    return { short_name: getEip3770NetworkPrefixFromChainId(BigInt(question.chain_id)) }
  },
}

await answerAll(answers)
