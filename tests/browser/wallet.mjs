// An owner signs in with a wallet; two owners review, sign and execute. On the way: no wallet, a wrong
// account, a wrong chain, a rejected signature, a hardware wallet's v, and a page whose server was patched.

import { createRequire } from 'node:module'
import { hold, open, run, scene, visitor } from './kit.mjs'

const require = createRequire(`${process.env.NODE_MODULES}/here.js`)
const { privateKeyToAccount } = require('viem/accounts')

const [stranger, ...owners] = [scene.stranger, ...scene.owners].map((key) => privateKeyToAccount(key))
const request = `/requests/${scene.id}`
/** The wallet, as its person has set it. */
const wallet = { account: owners[0], isConnected: false, chain: '0x1', rejects: false, isDevice: false, asked: [] }

const deeds = {
  eth_accounts: () => (wallet.isConnected ? [wallet.account.address] : []),
  eth_requestAccounts: () => [wallet.account.address],
  eth_chainId: () => wallet.chain,
  wallet_switchEthereumChain: ([{ chainId }]) => void (wallet.chain = chainId),
  personal_sign: ([text]) => wallet.account.signMessage({ message: { raw: text } }),
  eth_signTypedData_v4: async ([, text]) => {
    const signature = await wallet.account.signTypedData(JSON.parse(text))
    if (!wallet.isDevice) return signature
    return signature.slice(0, -2) + (signature.endsWith('1b') ? '00' : '01')
  },
  eth_sendTransaction: async (params) => {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'eth_sendTransaction', params })
    const answer = await fetch(scene.rpc, { method: 'POST', headers: { 'content-type': 'application/json' }, body })
    const { result, error } = await answer.json()
    if (error) throw new Error(error.message)
    return result
  },
}

async function walletCall({ method, params }) {
  if (method !== 'eth_accounts') wallet.asked.push(method) // a wallet answers that without asking anybody
  if (wallet.rejects && /sign/i.test(method)) return { error: { code: 4001, message: 'User rejected the request.' } }
  try {
    return { ok: await deeds[method](params) }
  } catch (error) {
    return { error: { code: -32603, message: error.message } }
  }
}

/** Puts the wallet into every page of a visitor, as an extension does. */
async function install(context) {
  await context.exposeFunction('walletCall', walletCall)
  await context.addInitScript(() => {
    const listeners = []
    window.switchAccount = () => listeners.forEach((listen) => listen())
    const provider = {
      on: (event, listen) => event === 'accountsChanged' && listeners.push(listen),
      request: async (call) => {
        const { ok, error } = await window.walletCall(call)
        if (error) throw Object.assign(new Error(error.message), { code: error.code })
        return ok
      },
    }
    const info = { uuid: 'one', name: 'Test Wallet', icon: 'data:,', rdns: 'test.wallet' }
    const detail = Object.freeze({ info, provider })
    const announce = () => dispatchEvent(new CustomEvent('eip6963:announceProvider', { detail }))
    addEventListener('eip6963:requestProvider', announce)
    announce()
  })
}

await run(async (browser) => {
  const bare = await visitor(browser)
  const without = await open(bare, { name: 'no wallet', path: request })
  await without.waitForLoadState('load')
  hold('no wallet', await without.locator('#wallet').isHidden(), 'offers to sign')
  await bare.close()

  const nobody = await visitor(browser, { extraHTTPHeaders: {} })
  await install(nobody)
  const door = await open(nobody, { name: 'sign-in', path: '/sign-in' })
  await door.getByRole('button', { name: 'Sign in with Test Wallet' }).click()
  await door.getByText(`wallet:${owners[0].address}`).waitFor()
  await door.getByText('owner of the Safe').waitFor()
  await door.getByRole('button', { name: 'Sign out' }).click()
  await door.getByText('Nobody is signed in').waitFor()
  hold('sign-out', await door.evaluate(async () => (await (await fetch('/v1/session')).json()).actor) === null, 'left somebody')

  // Whoever is refused comes back to where they wanted to be, and is somebody there.
  const refused = await open(nobody, { name: 'refused', path: request, status: 401 })
  await refused.getByRole('link', { name: 'Sign in with a wallet' }).click()
  await refused.getByRole('button', { name: 'Sign in with Test Wallet' }).click()
  await refused.waitForURL((url) => url.pathname === request)
  const begin = owners[0].address.slice(0, 6)
  await refused.getByRole('navigation').getByRole('link', { name: begin }).waitFor()
  await refused.getByRole('row', { name: owners[0].address }).getByText('(you)').waitFor()
  await refused.getByRole('link', { name: 'Requests' }).click()
  await refused.getByText('your signature is missing').waitFor()
  await refused.getByLabel('Waiting for my signature').check()
  await refused.getByRole('button', { name: 'Filter' }).click()
  await refused.waitForURL((url) => url.searchParams.get('mine') === '1')
  hold('mine', await refused.locator(`a[href="${request}"]`).count() === 1, 'does not find it')
  await nobody.close()

  const context = await visitor(browser)
  await install(context)
  const page = await open(context, { name: 'request', path: request })
  const sign = page.getByRole('button', { name: 'Sign with Test Wallet' })
  const told = page.locator('#wallet [role=status]')
  const says = async (words) => {
    const found = told.filter({ hasText: words })
    await found.waitFor().catch(async () => hold('wallet', false, 'says', await told.textContent(), 'instead of', words))
  }

  wallet.account = stranger
  await sign.click()
  await says('is no owner of this Safe')

  wallet.account = owners[0]
  wallet.rejects = true
  await sign.click()
  await says('Rejected in Test Wallet: nothing was signed')
  hold('wallet', wallet.chain === scene.chain, 'stayed on chain', wallet.chain)
  wallet.rejects = false

  const isPage = (url) => url.pathname === request
  await page.route(isPage, async (route) => {
    const response = await route.fetch()
    const body = (await response.text()).replace(/data-tx="nonce">\d+/, 'data-tx="nonce">77')
    await route.fulfill({ response, body })
  })
  await page.reload()
  wallet.asked = []
  await sign.click()
  await says('The hashes on this page are not those of the transaction')
  hold('patched page', wallet.asked.length === 0, 'asked the wallet', wallet.asked.join())
  // The page asks for itself too, and its answer may be under way.
  await page.unrouteAll({ behavior: 'wait' })

  // A wallet that is connected is known before it is asked for anything.
  Object.assign(wallet, { isConnected: true, account: stranger, asked: [] })
  await page.reload()
  const panel = page.locator('#wallet')
  await panel.getByText(`${stranger.address}, which is no owner of this Safe`).waitFor()
  hold('stranger', await sign.count() === 0, 'is offered to sign')
  hold('stranger', wallet.asked.length === 0, 'was asked', wallet.asked.join())
  for (const [number, owner] of owners.entries()) {
    Object.assign(wallet, { account: owner, isDevice: number === 1 })
    await page.evaluate(() => window.switchAccount())
    await sign.click()
    await says(`Signed by ${owner.address}`)
    await page.getByRole('heading', { name: `Signatures: ${number + 1} of 2` }).waitFor()
    if (number === 1) break
    await page.reload()
    await panel.getByText(`${owner.address} (Test Wallet) has signed already. Still missing: 1 of `).waitFor()
    hold('signed', await sign.count() === 0, 'is offered again')
  }
  const execute = page.getByRole('button', { name: 'Execute with Test Wallet' })
  await execute.click()
  await says('Sent: transaction 0x')
  // What comes of it is told where the button was, until the end.
  await says('The request is executed now: ')
  hold('executed', await execute.count() === 0, 'is offered again')
  await context.close()
})
