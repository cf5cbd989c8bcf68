import assert from 'node:assert/strict';

/** A reply as a front end builds it from events. */
export class Reply {
  /** @type {string[]} the text of each part */
  #texts = [];
  /** @type {string | null} where to go on after a disconnect */
  cursor = null;
  /** @type {{ id: string, status: string, text: string } | null} */
  finished = null;

  /** How many code units came that were there already. */
  repeated = 0;

  get text() {
    return this.#texts.join('');
  }

  take(event) {
    this.cursor = event.cursor;
    switch (event.__typename) {
      case 'TextDelta':
        this.#put(event);
        break;
      case 'StreamRestarted':
        this.#texts.length = event.part;
        break;
      case 'MessageFinished':
        this.finished = event.message;
    }
  }

  #put({ part, offset, text }) {
    const known = this.#texts[part] ?? '';
    assert.ok(offset <= known.length, `text is missing between ${known.length} and ${offset}`);
    this.repeated += Math.min(known.length - offset, text.length);
    this.#texts[part] = known.slice(0, offset) + text;
  }
}
