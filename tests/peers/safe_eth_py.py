"""The Python peer: safe-eth-py. Reads questions from standard input, one JSON object a line, and
answers each with a line."""

import json
import sys

from eth_account import Account
from eth_account.messages import encode_defunct
from safe_eth.eth.eip712 import eip712_encode
from safe_eth.safe.multi_send import MultiSend, MultiSendOperation, MultiSendTx
from safe_eth.safe.safe_signature import SafeSignature
from safe_eth.safe.safe_tx import SafeTx


def transaction(question):
    tx = question["safe_tx"]
    return SafeTx(
        None,
        question["safe"],
        tx["to"],
        int(tx["value"]),
        bytes.fromhex(tx["data"][2:]),
        tx["operation"],
        int(tx["safe_tx_gas"]),
        int(tx["base_gas"]),
        int(tx["gas_price"]),
        tx["gas_token"],
        tx["refund_receiver"],
        safe_nonce=int(tx["nonce"]),
        safe_version=question["safe_version"],
        chain_id=question["chain_id"],
    )


def text(data):
    return "0x" + bytes(data).hex()


def hashes(question):
    tx = transaction(question)
    _, domain_hash, message_hash = eip712_encode(tx.eip712_structured_data)
    return {
        "domain_hash": text(domain_hash),
        "message_hash": text(message_hash),
        "safe_tx_hash": text(tx.safe_tx_hash),
    }


def sign(question):
    tx = transaction(question)
    for signer in question["signers"]:
        if signer["kind"] == "eip712":
            tx.sign(signer["key"])
            continue
        # The library signs EIP-712 only; it knows the other kind from reading.
        message = encode_defunct(primitive=bytes(tx.safe_tx_hash))
        made = Account.sign_message(message, signer["key"]).signature
        made = bytes(made[:64]) + bytes([made[64] + 4])
        both = SafeSignature.parse_signature(tx.signatures + made, tx.safe_tx_hash)
        tx.signatures = SafeSignature.export_signatures(both)
    return {"packed": text(tx.signatures)}


def read(question):
    found = SafeSignature.parse_signature(
        question["packed"], question["safe_tx_hash"], ignore_trailing=False
    )
    return {
        "signatures": [
            {"owner": one.owner, "kind": one.signature_type.name, "valid": one.is_valid()}
            for one in found
        ]
    }


def batch(question):
    calls = [
        MultiSendTx(
            MultiSendOperation.CALL,
            call["to"],
            int(call["value"]),
            bytes.fromhex(call["data"][2:]),
        )
        for call in question["calls"]
    ]
    packed = b"".join(call.encoded_data for call in calls)
    contract = MultiSend(address="0x9641d764fc13c8B624c04430C7356C1C7C8102e2").get_contract()
    return {"calldata": contract.encode_abi("multiSend", [packed])}


def calls(question):
    found = MultiSend.from_transaction_data(question["calldata"])
    return {
        "calls": [
            {
                "operation": call.operation.value,
                "to": call.to,
                "value": str(call.value),
                "data": text(call.data),
            }
            for call in found
        ]
    }


ANSWERS = {
    "hashes": hashes,
    "sign": sign,
    "read": read,
    "batch": batch,
    "calls": calls,
}

for line in sys.stdin:
    question = json.loads(line)
    try:
        answer = ANSWERS[question["ask"]](question)
    except Exception as error:  # whatever it is, it belongs to the one who asked
        answer = {"error": repr(error)}
    print(json.dumps(answer), flush=True)
