// The law of pages: what must hold for a page. The scene has `base`, `token`, `page` (with `name`, `path` and,
// unless it is 200, `status`), and `screenshots`, the folder that gets pictures.

import { axe, hold, open, run, scene, visitor, wrong } from './kit.mjs'

const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']
const FIRST_PAINT_BYTES = 100_000
/** Characters on a line of prose that are still read with ease. */
const LINE_CHARS = 110
const NARROW = { width: 360, height: 740 }
const WALKS = 5

await run(async (browser) => {
  const one = scene.page
  const context = await visitor(browser)
  const page = await open(context, one)
  hold(one.name, page.bytes > 0 && page.bytes < FIRST_PAINT_BYTES, 'loads', page.bytes, 'bytes')
  const text = await textOf(page)
  await isWritten(page, one.name)
  await isAccessible(page, one.name)
  await shoot(page, one, 'light-1280')
  await page.emulateMedia({ colorScheme: 'dark' })
  await isAccessible(page, `${one.name}, dark`)
  await shoot(page, one, 'dark-1280')
  await page.emulateMedia({ colorScheme: 'light' })
  await isReachable(page, one.name)
  await isNarrow(page, one)
  await isWide(page, one.name)
  await isPrintable(page, one.name)
  hold(one.name, await page.evaluate(() => window.pwned === undefined), 'ran what it was only to show')
  hold(one.name, await page.locator('[href^="javascript:" i]').count() === 0, 'links to a script')
  await context.close()
  await isCompleteWithoutScripts(browser, one, text)
})

/** What there is to read; times go on between two looks. */
async function textOf(page) {
  // Some of what there is to read is of this very moment.
  const now = await page.locator('[data-now]').allInnerTexts()
  const text = now.reduce((text, one) => text.replace(one, ''), await page.locator('main').innerText())
  return text.replace(/\d+ (d|h|min|s)\b/g, 'some time')
}

/** What is to be typed is set apart by its letters, not by the marks that terminals show. */
async function isWritten(page, name) {
  const marked = await page.evaluate(() => {
    const [texts, out] = [document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), []]
    while (texts.nextNode()) {
      const { currentNode: text } = texts
      if (text.data.includes('`') && !text.parentElement.closest('pre')) out.push(text.data.trim().slice(0, 160))
    }
    return out
  })
  hold(name, marked.length === 0, 'shows backticks:', marked.slice(0, 3).join(' | '))
}

async function isAccessible(page, name) {
  await page.evaluate(axe)
  const runOnly = { type: 'tag', values: TAGS }
  const { violations } = await page.evaluate((runOnly) => axe.run(document, { runOnly }), runOnly)
  for (const { id, impact, nodes } of violations)
    if (['serious', 'critical'].includes(impact))
      for (const node of nodes) wrong(name, impact, id, node.html.slice(0, 200), node.failureSummary)
}

async function shoot(page, { picture }, kind) {
  if (picture) await page.screenshot({ path: `${scene.screenshots}/${picture}-${kind}.png`, fullPage: true })
}

/** Everything that can be used is reached by Tab alone, and the focus is seen there. A page that kept up with
 * something meanwhile has other parts than were walked through, and is walked through again. */
async function isReachable(page, name) {
  let missed
  for (let walk = 0; walk < WALKS; walk++) {
    missed = await walkThrough(page, name)
    if (!missed || await page.evaluate(() => usable.every((it) => it.isConnected))) break
  }
  hold(name, !missed, missed)
}

/** What was missed, if anything was. */
async function walkThrough(page, name) {
  const count = await page.evaluate(() => {
    const all = document.querySelectorAll('a[href], button, input, select, textarea, summary')
    window.usable = [...all].filter((it) => it.checkVisibility())
    return usable.length
  })
  const reached = new Set()
  for (let step = 0; step < count + 5 && reached.size < count; step++) {
    await page.keyboard.press('Tab')
    const at = await page.evaluate(() => {
      const it = document.activeElement
      const { outlineStyle, outlineWidth } = getComputedStyle(it)
      const { top, bottom, left, right } = it.getBoundingClientRect()
      const isOnScreen = bottom > 0 && top < innerHeight && right > 0 && left < innerWidth
      const isMarked = outlineStyle !== 'none' && parseFloat(outlineWidth) >= 2
      return { number: usable.indexOf(it), html: it.outerHTML.slice(0, 120), isOnScreen, isMarked }
    })
    if (at.number < 0) continue
    reached.add(at.number)
    hold(name, at.isOnScreen && at.isMarked, 'focus is not seen at', at.html)
  }
  return reached.size < count && `by keyboard ${reached.size} of ${count} are reached`
}

/** Nothing is cut off or has to be pushed sideways on a telephone, whatever is opened. */
async function isNarrow(page, one) {
  await page.setViewportSize(NARROW)
  await shoot(page, one, 'light-360')
  await isAccessible(page, `${one.name}, narrow`)
  await page.evaluate(() => document.querySelectorAll('details').forEach((it) => (it.open = true)))
  const beyond = await page.evaluate(() => {
    const width = document.documentElement.clientWidth
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    const [range, out] = [document.createRange(), []]
    while (texts.nextNode()) {
      const { currentNode: text } = texts
      if (text.parentElement.closest('.skip, thead')) continue
      range.selectNodeContents(text)
      if (range.getBoundingClientRect().right > width + 1) out.push(text.data.trim().slice(0, 160))
    }
    return { is: document.documentElement.scrollWidth > width, out }
  })
  hold(one.name, !beyond.is && beyond.out.length === 0, 'overflows at 360:', beyond.out.slice(0, 3).join(' | '))
}

/** Lines of prose stay short enough to be read on the widest screen. */
async function isWide(page, name) {
  await page.setViewportSize({ width: 3840, height: 2160 })
  const long = await page.evaluate((most) => {
    const out = []
    for (const it of document.querySelectorAll('p, li, dd, td, h1, h2, summary')) {
      // A block inside is looked at by itself; hashes and data are no prose.
      if (!it.checkVisibility() || it.querySelector('p, li, dd, pre, code')) continue
      const range = document.createRange()
      range.selectNodeContents(it)
      const lines = new Set([...range.getClientRects()].map((rect) => Math.round(rect.bottom)))
      const chars = it.textContent.replace(/\s+/g, ' ').trim().length / Math.max(lines.size, 1)
      if (chars > most) out.push(`${Math.round(chars)} on a line: ${it.textContent.trim().slice(0, 80)}`)
    }
    return out
  }, LINE_CHARS)
  hold(name, long.length === 0, 'at 3840', long.slice(0, 3).join(' | '))
}

/** Paper shows content, and nothing that leads elsewhere. */
async function isPrintable(page, name) {
  await page.setViewportSize({ width: 1280, height: 800 })
  await page.emulateMedia({ media: 'print' })
  const seen = await page.evaluate(() => {
    const all = document.querySelectorAll('nav, .skip, form, .button, .foot')
    return [...all].filter((it) => it.checkVisibility()).map((it) => it.outerHTML.slice(0, 80))
  })
  hold(name, seen.length === 0, 'prints', seen.join(' | '))
  hold(name, await page.locator('main h1').isVisible(), 'prints no heading')
}

/** Without scripts the same is there to read. */
async function isCompleteWithoutScripts(browser, one, text) {
  const context = await visitor(browser, { javaScriptEnabled: false })
  const without = await textOf(await open(context, one))
  await context.close()
  hold(one.name, text.length > 20 && text === without, 'differs without scripts:\n', text, '\n---\n', without)
}
