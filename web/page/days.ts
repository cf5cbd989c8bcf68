/** Groups by day, as people count them: today, yesterday, the past week, earlier. */
const DAY_MS = 86_400_000;

interface Dated {
  updatedAt: string;
}

/** The items in their order, in runs of the same age. */
export function groupByAge<T extends Dated>(items: readonly T[]): { age: string; items: T[] }[] {
  const groups: { age: string; items: T[] }[] = [];
  for (const item of items) {
    const age = ageOf(item.updatedAt);
    const last = groups.at(-1);
    if (last?.age === age) last.items.push(item);
    else groups.push({ age, items: [item] });
  }
  return groups;
}

function ageOf(time: string): string {
  const midnight = new Date().setHours(0, 0, 0, 0);
  const age = midnight - Date.parse(time);
  if (age <= 0) return "Today";
  if (age <= DAY_MS) return "Yesterday";
  return age <= 7 * DAY_MS ? "Past week" : "Earlier";
}
