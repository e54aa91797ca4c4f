// Numbers, sizes and times as people read them.

const STEPS = [
  ['year', 31_557_600, 2], ['month', 2_629_800, 2], ['day', 86_400, 1],
  ['hour', 3_600, 1], ['minute', 60, 1], ['second', 1, 0],
];
const words = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });
const exactly = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeStyle: 'long', timeZone: 'UTC' });
const day = new Intl.DateTimeFormat('en-GB', { dateStyle: 'medium', timeZone: 'UTC' });
const plain = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });

/** "3 months ago", "in 12 days": of a Date, seen from `now` in milliseconds. */
export function relative(date, now = Date.now()) {
  const seconds = (date.getTime() - now) / 1000;
  const [unit, length] = STEPS.find(([, length, least]) => Math.abs(seconds) >= length * least) ?? STEPS.at(-1);
  const number = seconds / length;
  return words.format(length > 86_400 ? Math.round(number) : Math.trunc(number), unit);
}

/** The exact time, in UTC. */
export const exact = date => exactly.format(date);

/** The day alone. */
export const dayOf = date => day.format(date);

/** A count, short from ten thousand up. */
export const count = value => (Math.abs(value) < 10_000 ? plain : short).format(value);

/** A duration of seconds, in its two largest units. */
export function duration(seconds) {
  const parts = [['d', 86_400], ['h', 3_600], ['min', 60], ['s', 1]];
  const first = Math.max(0, parts.findIndex(([, length]) => seconds >= length));
  let rest = Math.floor(seconds);
  const shown = parts.slice(seconds < 1 ? 3 : first, first + 2).map(([unit, length]) => {
    const whole = Math.floor(rest / length);
    rest -= whole * length;
    return `${whole} ${unit}`;
  });
  return shown.filter((text, index) => index === 0 || !text.startsWith('0 ')).join(' ');
}

/** Milliseconds, with as many digits as they deserve. */
export const milliseconds = value => value >= 1000 ? `${plain.format(value / 1000)} s`
  : value >= 10 ? `${Math.round(value)} ms` : `${plain.format(value)} ms`;

/** One thing or several: `2 endpoints`. */
export const several = (number, one, more = `${one}s`) => `${count(number)} ${number === 1 ? one : more}`;
