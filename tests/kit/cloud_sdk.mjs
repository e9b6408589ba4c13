// Asks a Phala Cloud with Phala's own SDK, at both of the API versions that it speaks, and has the
// SDK parse every answer. Reads the scene from standard input, prints what each call gave;
// tests/stories/cloud_sdk.rs compares it. An answer that does not parse ends it, with the field.

import { createRequire } from 'node:module'
import { text } from 'node:stream/consumers'

const require = createRequire(`${process.env.NODE_MODULES}/here.js`)
const sdk = require('@phala/cloud')
const { verifyEnvEncryptPublicKey } = require('@phala/dstack-sdk')

const scene = JSON.parse(await text(process.stdin))
const problems = []
const said = {}

function client(version) {
  return sdk.createClient({ apiKey: scene.key, baseURL: scene.base, version })
}

// The call's data, or undefined and the places that the SDK objects to.
async function ask(of, name, ...args) {
  const given = await sdk[`safe${name[0].toUpperCase()}${name.slice(1)}`](of, ...args)
  if (given.success) return given.data
  const issues = given.error.issues ?? [{ path: [], message: given.error.message }]
  for (const issue of issues) {
    problems.push(`${of.config.version} ${name}: ${issue.path.join('.')}: ${issue.message}`)
  }
  return undefined
}

async function look(version) {
  const of = client(version)
  const cvm = { id: scene.cvm }
  said.user = await ask(of, 'getCurrentUser')
  said.nodes = await ask(of, 'getAvailableNodes')
  said.workspace_nodes = await ask(of, 'getWorkspaceNodes', { teamSlug: scene.workspace })
  said.cvm = await ask(of, 'getCvmInfo', cvm)
  said.list = await ask(of, 'getCvmList', { page: 1, page_size: 1 })
  said.state = await ask(of, 'getCvmState', cvm)
  said.statuses = await ask(of, 'getCvmStatusBatch', { vmUuids: [scene.cvm] })
  const compose = await ask(of, 'getCvmComposeFile', cvm)
  said.compose_name = compose?.name
  said.attestation = await ask(of, 'getCvmAttestation', cvm)
  said.apps = await ask(of, 'getAppList', {})
  said.app = await ask(of, 'getAppInfo', { appId: scene.app })
  said.app_cvms = await ask(of, 'getAppCvms', { appId: scene.app })
  said.devices = await ask(of, 'getAppDeviceAllowlist', { appId: scene.app })
  const hash = said.attestation?.tcb_info?.event_log?.[1]?.event_payload
  const allowed = { appId: scene.app, compose_hash: hash, node_id: scene.node }
  said.allowed = await ask(of, 'checkAppIsAllowed', allowed)
  said.kms_list = await ask(of, 'getKmsList', {})
  const kms = said.kms_list?.items[0]?.slug
  said.kms = await ask(of, 'getKmsInfo', { kms_id: kms })
  said.on_chain = await ask(of, 'getKmsOnChainDetail', { chain: 'base' })
  const key = await ask(of, 'getAppEnvEncryptPubKey', { kms, app_id: scene.app })
  const bytes = hex => Uint8Array.from(Buffer.from(hex, 'hex'))
  said.env_key = key?.public_key
  said.signer =
    key && verifyEnvEncryptPublicKey(bytes(key.public_key), bytes(key.signature), scene.app)
  said.revisions = await ask(of, 'getAppRevisions', { appId: scene.app, page: 1, page_size: 10 })
  for (const raw_compose_file of [false, true]) {
    said.revision = await ask(of, 'getAppRevisionDetail', {
      appId: scene.app,
      revisionId: said.revisions?.revisions[0]?.revision_id,
      rawComposeFile: raw_compose_file,
    })
  }
}

const steps = {
  async look() {
    for (const version of sdk.SUPPORTED_API_VERSIONS) await look(version)
  },
  // Each version prepares, so that the last one's token is the good one.
  async prepare() {
    for (const version of sdk.SUPPORTED_API_VERSIONS) {
      const change = { id: scene.cvm, prepareOnly: true, ...scene.change }
      said.prepared = await ask(client(version), 'patchCvm', change)
    }
  },
  async commit() {
    const { token, hash: composeHash } = scene
    const ask_for = { id: scene.cvm, token, composeHash, transactionHash: 'already-registered' }
    said.committed = await ask(client('2025-10-28'), 'commitCvmUpdate', ask_for)
  },
  async confirm() {
    const second = { id: scene.cvm, composeHash: scene.hash, transactionHash: scene.transaction }
    said.confirmed = await ask(client('2025-10-28'), 'confirmCvmPatch', second)
  },
  // What is allowed already is made at once.
  async create() {
    for (const version of sdk.SUPPORTED_API_VERSIONS) {
      const of = client(version)
      said.replica = await ask(of, 'replicateCvm', { id: scene.cvm, node_id: scene.node })
      const instance = { appId: scene.app, node_id: scene.node }
      said.instance = await ask(of, 'createAppInstance', instance)
      said.stopped = await ask(of, 'stopCvm', { id: scene.cvm })
      said.started = await ask(of, 'startCvm', { id: scene.cvm })
      said.state = await ask(of, 'getCvmState', { id: scene.cvm })
      for (let looks = 0; looks < 5; looks++) await ask(of, 'getCvmState', { id: scene.cvm })
      await ask(of, 'deleteCvm', { id: said.instance?.vm_uuid })
    }
  },
}

await steps[scene.step]()
if (problems.length > 0) {
  console.error(problems.join('\n'))
  process.exit(1)
}
console.log(JSON.stringify(said))
