/**
 * Visit priority on a device: the rule of `../priority.py`, number for number. `../vectors/priority.json` holds cases;
 * an implementation is right when it reproduces them all.
 *
 * Every step is a whole-number multiplication below 2^53, an integer division or a table look-up. Shares are scaled by
 * 1,000,000, basis points by 10,000; days count from 1970-01-01.
 */

const MICRO = 1_000_000;
const BASIS_POINTS = 10_000;
/** Amounts are clamped here before a table is read: (value − knot) × 10,000 then stays below 2^53. */
const VALUE_MINOR_MAX = 900_000_000_000;

export type LineCode =
  | "VALUE_AT_STAKE"
  | "SAVABLE_REVENUE"
  | "POTENTIAL"
  | "OVERDUE"
  | "OBLIGATIONS"
  | "SEASON_WINDOW"
  | "SATISFACTION_GAP"
  | "LOYALTY"
  | "JUST_VISITED"
  | "CLIP";

/** Published weights and curves, as `priorityTables` brings them. */
export interface Parameters {
  max: Record<Exclude<LineCode, "CLIP">, number>;
  obligationPoints: { severeCases: number; overdueTasks: number; openTasks: number };
  overdueCurve: readonly number[];
  seasonCurve: readonly number[];
  justVisitedCurve: readonly number[];
}

/** Frozen distributions: 101 ascending whole numbers each. */
export interface Tables {
  value: readonly number[];
  uplift: readonly number[];
  potential: readonly number[];
  existing: readonly number[];
}

/** One customer's numbers, computed on the server: the `facts` of its score. What is absent or null was never recorded. */
export interface Score {
  valueAtStakeMinor?: number | null;
  upliftMinor?: number | null;
  upliftMeasured?: number | boolean | null;
  potentialMinor?: number | null;
  potentialConfidenceBp?: number | null;
  existingValueMinor?: number | null;
  satisfactionBp?: number | null;
  satisfactionConfidenceBp?: number | null;
  loyaltyBp?: number | null;
  cadenceDays?: number | null;
  seasonCloseDay?: number | null;
  hasPreorderHistory?: number | boolean | null;
  severeCases?: number | null;
}

export interface OpenTask {
  id: string;
  dueDay: number | null;
}

/** What the device knows itself of a day. */
export interface Facts {
  today: number;
  lastVisitDay?: number | null;
  nextAppointmentDay?: number | null;
  openTasks?: readonly OpenTask[] | null;
  /** Ids of the severe complaints (P1, P2) it holds that are not settled; null where it holds no cases. */
  severeCases?: readonly string[] | null;
  lastOrderId?: string | null;
  lastVisitId?: string | null;
  nextAppointmentId?: string | null;
}

export interface Line {
  code: LineCode;
  points: number;
  recorded: boolean;
  numbers: Record<string, number>;
  evidence: string[];
}

export interface Priority {
  score: number;
  lines: Line[];
}

/** A line before rounding: points × 10^6, null where an input was never recorded. */
interface Weighed {
  code: LineCode;
  micro: number | null;
  numbers: Record<string, number>;
  evidence: string[];
}

const divide = (dividend: number, divisor: number): number => Math.floor(dividend / divisor);

/** The remainder of a floored division, never negative. */
const remainder = (dividend: number, divisor: number): number => dividend - divide(dividend, divisor) * divisor;

const known = (value: number | null | undefined): value is number => value !== null && value !== undefined;

/** How many knots are at most `value`. */
function countAtMost(knots: readonly number[], value: number): number {
  let low = 0;
  let high = knots.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (knots[middle]! <= value) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Share of the organisation's customers with no more than `amountMinor`, × 10^6; nothing at stake is 0. */
export function shareMicro(knots: readonly number[], amountMinor: number): number {
  const value = Math.min(amountMinor, VALUE_MINOR_MAX);
  if (value <= 0) return 0;
  const at = countAtMost(knots, value) - 1;
  if (at < 0) return 0;
  if (at >= 100) return MICRO;
  return at * 10_000 + divide((value - knots[at]!) * 10_000, knots[at + 1]! - knots[at]!);
}

const named = (id: string | null | undefined): string[] => (id ? [id] : []);

function unrecorded(code: LineCode): Weighed {
  return { code, micro: null, numbers: {}, evidence: [] };
}

function money(
  code: LineCode,
  most: number,
  knots: readonly number[],
  amountMinor: number | null | undefined,
  evidence: string[],
): Weighed {
  if (!known(amountMinor)) return unrecorded(code);
  const share = shareMicro(knots, amountMinor);
  return { code, micro: most * share, numbers: { amountMinor, shareMicro: share }, evidence };
}

/** `measured` tells whether the amount stands on visits held out at random or on an assumption. */
function savable(parameters: Parameters, tables: Tables, score: Score, evidence: string[]): Weighed {
  const line = money("SAVABLE_REVENUE", parameters.max.SAVABLE_REVENUE, tables.uplift, score.upliftMinor, evidence);
  if (line.micro !== null) line.numbers["measured"] = score.upliftMeasured ? 1 : 0;
  return line;
}

function potential(parameters: Parameters, tables: Tables, score: Score): Weighed {
  if (!known(score.potentialMinor)) return unrecorded("POTENTIAL");
  const share = shareMicro(tables.potential, score.potentialMinor);
  const confidenceBp = score.potentialConfidenceBp ?? 0;
  return {
    code: "POTENTIAL",
    micro: divide(parameters.max.POTENTIAL * share * confidenceBp, BASIS_POINTS),
    numbers: { amountMinor: score.potentialMinor, shareMicro: share, confidenceBp },
    evidence: [],
  };
}

function overdue(parameters: Parameters, score: Score, facts: Facts): Weighed {
  const { cadenceDays } = score;
  if (!known(facts.lastVisitDay) || !known(cadenceDays) || cadenceDays <= 0) return unrecorded("OVERDUE");
  const daysSinceVisit = facts.today - facts.lastVisitDay;
  const curve = parameters.overdueCurve;
  const percent = Math.min(divide(Math.max(daysSinceVisit, 0) * 100, cadenceDays), curve.length - 1);
  return {
    code: "OVERDUE",
    micro: parameters.max.OVERDUE * curve[percent]!,
    numbers: { daysSinceVisit, cadenceDays },
    evidence: named(facts.lastVisitId),
  };
}

/** Open tasks come from the device, one past due counts as more; severe cases too, where it holds cases: the score's are
 * those of the night. */
function obligations(parameters: Parameters, score: Score, facts: Facts): Weighed {
  const held = facts.severeCases;
  const severeCases = held != null && (held.length > 0 || known(score.severeCases)) ? held.length : score.severeCases;
  if (facts.openTasks == null && !known(severeCases)) return unrecorded("OBLIGATIONS");
  const tasks = facts.openTasks ?? [];
  const overdueTasks = tasks.filter((task) => task.dueDay !== null && task.dueDay < facts.today).length;
  const numbers = { severeCases: severeCases ?? 0, overdueTasks, openTasks: tasks.length - overdueTasks };
  const each = parameters.obligationPoints;
  const points =
    each.severeCases * numbers.severeCases + each.overdueTasks * overdueTasks + each.openTasks * numbers.openTasks;
  return {
    code: "OBLIGATIONS",
    micro: Math.min(points, parameters.max.OBLIGATIONS) * MICRO,
    numbers,
    evidence: [...new Set([...tasks.map((task) => task.id), ...(held ?? [])])].sort(),
  };
}

function seasonWindow(parameters: Parameters, score: Score, facts: Facts): Weighed {
  const { seasonCloseDay, hasPreorderHistory } = score;
  if (!known(seasonCloseDay) || hasPreorderHistory == null) return unrecorded("SEASON_WINDOW");
  const daysToClose = seasonCloseDay - facts.today;
  const curve = parameters.seasonCurve;
  const inside = Boolean(hasPreorderHistory) && daysToClose >= 0 && daysToClose < curve.length;
  return {
    code: "SEASON_WINDOW",
    micro: inside ? parameters.max.SEASON_WINDOW * curve[daysToClose]! : 0,
    numbers: { daysToClose, preorderHistory: Number(hasPreorderHistory) },
    evidence: [],
  };
}

function satisfactionGap(parameters: Parameters, tables: Tables, score: Score): Weighed {
  const { satisfactionBp, existingValueMinor } = score;
  if (!known(satisfactionBp) || !known(existingValueMinor)) return unrecorded("SATISFACTION_GAP");
  const share = shareMicro(tables.existing, existingValueMinor);
  const confidenceBp = score.satisfactionConfidenceBp ?? 0;
  const gap = (BASIS_POINTS - satisfactionBp) * confidenceBp;
  return {
    code: "SATISFACTION_GAP",
    // no line may give more than 60 points, so the product stays below 2^53
    micro: divide(parameters.max.SATISFACTION_GAP * share * gap, BASIS_POINTS * BASIS_POINTS),
    numbers: { satisfactionBp, shareMicro: share, confidenceBp },
    evidence: [],
  };
}

function loyalty(parameters: Parameters, tables: Tables, score: Score): Weighed {
  const { loyaltyBp, existingValueMinor } = score;
  if (!known(loyaltyBp) || !known(existingValueMinor)) return unrecorded("LOYALTY");
  const share = shareMicro(tables.existing, existingValueMinor);
  return {
    code: "LOYALTY",
    micro: divide(parameters.max.LOYALTY * share * loyaltyBp, BASIS_POINTS),
    numbers: { loyaltyBp, shareMicro: share },
    evidence: [],
  };
}

function justVisited(parameters: Parameters, facts: Facts): Weighed {
  const since = known(facts.lastVisitDay) ? facts.today - facts.lastVisitDay : null;
  const ahead = known(facts.nextAppointmentDay) ? facts.nextAppointmentDay - facts.today : null;
  const near = [since, ahead].filter((days): days is number => days !== null && days >= 0);
  if (near.length === 0) return unrecorded("JUST_VISITED");
  const daysToNearestVisit = Math.min(...near);
  const agreed = since !== daysToNearestVisit;
  const off = parameters.justVisitedCurve[daysToNearestVisit] ?? 0;
  return {
    code: "JUST_VISITED",
    micro: -parameters.max.JUST_VISITED * off,
    numbers: { daysToNearestVisit, isAppointment: Number(agreed) },
    evidence: named(agreed ? facts.nextAppointmentId : facts.lastVisitId),
  };
}

/** Whole points by largest remainder, ties to the earlier line; they add up to the rounded sum. */
function wholePoints(micro: readonly number[]): { points: number[]; total: number } {
  const points = micro.map((one) => divide(one, MICRO));
  const sum = micro.reduce((left, right) => left + right, 0);
  const total = divide(sum + MICRO / 2, MICRO);
  const missing = total - points.reduce((left, right) => left + right, 0);
  const order = micro.map((_, place) => place);
  order.sort((left, right) => remainder(micro[right]!, MICRO) - remainder(micro[left]!, MICRO) || left - right);
  for (const place of order.slice(0, missing)) points[place]! += 1;
  return { points, total };
}

/** Score 0..100 with the lines that add up to it exactly; what the clip takes or gives is the last line. */
export function priority(parameters: Parameters, tables: Tables, score: Score, facts: Facts): Priority {
  const orders = named(facts.lastOrderId);
  const { max } = parameters;
  const weighed = [
    money("VALUE_AT_STAKE", max.VALUE_AT_STAKE, tables.value, score.valueAtStakeMinor, orders),
    savable(parameters, tables, score, orders),
    potential(parameters, tables, score),
    overdue(parameters, score, facts),
    obligations(parameters, score, facts),
    seasonWindow(parameters, score, facts),
    satisfactionGap(parameters, tables, score),
    loyalty(parameters, tables, score),
    justVisited(parameters, facts),
  ];
  const { points, total } = wholePoints(weighed.map((line) => line.micro ?? 0));
  const value = Math.min(100, Math.max(0, total));
  const lines: Line[] = weighed.map((line, place) => ({
    code: line.code,
    points: points[place]!,
    recorded: line.micro !== null,
    numbers: line.numbers,
    evidence: line.evidence,
  }));
  lines.push({ code: "CLIP", points: value - total, recorded: true, numbers: { total }, evidence: [] });
  return { score: value, lines };
}

/** What of a document of `judgements` the ranking reads; days as texts, `createdAt` null until the server has had it. */
export interface Judgement {
  id: string;
  customerId: string;
  kind: "SKIP" | "OVERRIDE" | (string & {});
  startsOn: string;
  endsOn: string;
  score: number | null;
  points: number | null;
  withdrawn: boolean;
  createdAt: string | null;
  createdBy: string | null;
}

/** Where judgements put a customer on a day: `shown` are the ids of those in force, the override that counts first. */
export interface JudgedPlace {
  rankedAt: number;
  skipped: boolean;
  shown: string[];
}

/** After every moment: a judgement made here that the server has not had yet is the latest. */
const NOT_SENT = "~";

const byText = (left: string, right: string): number => (left < right ? -1 : left > right ? 1 : 0);

const latestFirst = (left: Judgement, right: Judgement): number =>
  byText(right.createdAt ?? NOT_SENT, left.createdAt ?? NOT_SENT) || byText(right.id, left.id);

/** One customer's place on the list of `me`: the latest override counts; a skip counts for whoever said it. */
export function judged(score: number, judgements: readonly Judgement[], on: string, me: string): JudgedPlace {
  const standing = judgements.filter((one) => !one.withdrawn && one.startsOn <= on && on <= one.endsOn);
  standing.sort(latestFirst);
  const override = standing.find((one) => one.kind === "OVERRIDE");
  const skips = standing.filter((one) => one.kind === "SKIP");
  return {
    rankedAt: override ? (override.score ?? Math.min(100, Math.max(0, score + (override.points ?? 0)))) : score,
    skipped: skips.some((one) => (one.createdBy ?? me) === me),
    shown: [...(override ? [override] : []), ...skips].map((one) => one.id),
  };
}

/** Customer ids by where they are ranked, the highest first, ties by id; those skipped behind all others. */
export function rank(
  scored: Readonly<Record<string, Priority>>,
  judgements: readonly Judgement[] = [],
  on = "",
  me = "",
): string[] {
  const of = new Map<string, Judgement[]>();
  for (const one of judgements) of.set(one.customerId, [...(of.get(one.customerId) ?? []), one]);
  const places = Object.entries(scored).map(([id, { score }]) => ({ id, ...judged(score, of.get(id) ?? [], on, me) }));
  places.sort(
    (left, right) =>
      Number(left.skipped) - Number(right.skipped) || right.rankedAt - left.rankedAt || byText(left.id, right.id),
  );
  return places.map((place) => place.id);
}
