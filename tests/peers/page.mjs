// The pages of Countersign itself: what they have a wallet sign, made in the browser from what they show.

import { safeTransaction } from '../../src/web/assets/safe.js'
import { answerAll } from './answer.mjs'

await answerAll({
  hashes: ({ chain_id, safe, safe_version, safe_tx }) => {
    const tx = {
      to: safe_tx.to,
      value: safe_tx.value,
      data: safe_tx.data,
      operation: String(safe_tx.operation),
      safeTxGas: safe_tx.safe_tx_gas,
      baseGas: safe_tx.base_gas,
      gasPrice: safe_tx.gas_price,
      gasToken: safe_tx.gas_token,
      refundReceiver: safe_tx.refund_receiver,
      nonce: safe_tx.nonce,
    }
    const made = safeTransaction({ chainId: String(chain_id), safe, version: safe_version, tx })
    return { domain_hash: made.domain, message_hash: made.message, safe_tx_hash: made.safeTx }
  },
})
