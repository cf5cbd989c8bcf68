/** Icons: strokes on a 24 × 24 grid, hidden from screen readers. */
const PATHS = {
  menu: "M4 8h16M4 16h10",
  plus: "M12 5v14M5 12h14",
  search: "M16 16l4 4M17.5 10.75a6.75 6.75 0 1 1-13.5 0 6.75 6.75 0 0 1 13.5 0Z",
  close: "M6.5 6.5l11 11M17.5 6.5l-11 11",
  send: "M12 19V5M5.5 11.5 12 5l6.5 6.5",
  down: "M12 5v14M5.5 12.5 12 19l6.5-6.5",
  copy: "M11.5 9h6a2.5 2.5 0 0 1 2.5 2.5v6a2.5 2.5 0 0 1-2.5 2.5h-6A2.5 2.5 0 0 1 9 17.5v-6A2.5 2.5 0 0 1 11.5 9ZM5 15V6.5A2.5 2.5 0 0 1 7.5 4H15",
  check: "m5 12.5 4.5 4.5L19 7.5",
  again: "M19.5 12a7.5 7.5 0 1 1-2.2-5.3M19.5 4v4h-4",
  alert: "M20.5 12a8.5 8.5 0 1 1-17 0 8.5 8.5 0 0 1 17 0ZM12 8v4.5M12 16h.01",
  denied: "M20.5 12a8.5 8.5 0 1 1-17 0 8.5 8.5 0 0 1 17 0ZM6 6l12 12",
  clock: "M20.5 12a8.5 8.5 0 1 1-17 0 8.5 8.5 0 0 1 17 0ZM12 7.5V12l3 2",
  spinner: "M12 3.5a8.5 8.5 0 1 0 8.5 8.5",
  fold: "m9.5 6.5 5.5 5.5-5.5 5.5",
  unfold: "m6.5 9.5 5.5 5.5 5.5-5.5",
  earlier: "m14 7-5 5 5 5",
  later: "m10 7 5 5-5 5",
  edit: "M14.5 6.5l3 3M5 19l.8-3.8L16 5a2.1 2.1 0 0 1 3 3L8.8 18.2Z",
  thumbsUp:
    "M7.5 11v8.5M7.5 11l4-7c1.5 0 2.5 1.1 2.2 2.6L13 10h5a2 2 0 0 1 2 2.4l-1.1 5.5a2 2 0 0 1-2 1.6H5a1 1 0 0 1-1-1V12a1 1 0 0 1 1-1h2.5Z",
  thumbsDown:
    "M16.5 13V4.5M16.5 13l-4 7c-1.5 0-2.5-1.1-2.2-2.6L11 14H6a2 2 0 0 1-2-2.4l1.1-5.5a2 2 0 0 1 2-1.6H19a1 1 0 0 1 1 1V12a1 1 0 0 1-1 1h-2.5Z",
  delete: "M5 7h14M10 4h4M7 7l.8 11.2A2 2 0 0 0 9.8 20h4.4a2 2 0 0 0 2-1.8L17 7M10.5 11v5M13.5 11v5",
  archive: "M4 5.5h16v4H4ZM5.5 9.5V17a2 2 0 0 0 2 2h9a2 2 0 0 0 2-2V9.5M10 13h4",
  unarchive: "M4 5.5h16v4H4ZM5.5 9.5V17a2 2 0 0 0 2 2h9a2 2 0 0 0 2-2V9.5M12 16.5V12M9.8 14 12 11.8l2.2 2.2",
  tasks: "m4 6.5 1.5 1.5L8 5.5M4 16.5 5.5 18 8 15.5M11.5 7H20M11.5 17H20",
  sun: "M16 12a4 4 0 1 1-8 0 4 4 0 0 1 8 0ZM12 3v2M12 19v2M3 12h2M19 12h2M5.6 5.6 7 7M17 17l1.4 1.4M18.4 5.6 17 7M7 17l-1.4 1.4",
  moon: "M19.5 14.2A8 8 0 0 1 9.8 4.5a8 8 0 1 0 9.7 9.7Z",
} as const;

export type IconName = keyof typeof PATHS | "stop" | "more" | "auto";

/** Icons that point along the line of reading, and turn where it runs from right to left. */
const DIRECTED: readonly IconName[] = ["menu", "fold", "earlier", "later", "again", "tasks"];

export function Icon({ name, class: extra = "" }: { name: IconName; class?: string }) {
  const directed = DIRECTED.includes(name) ? "directed" : "";
  return (
    <svg class={`icon ${directed} ${extra}`} viewBox="0 0 24 24" aria-hidden="true">
      {name === "stop" ? (
        <rect x="7" y="7" width="10" height="10" rx="2" fill="currentColor" stroke="none" />
      ) : name === "more" ? (
        <path d="M6 12h.01M12 12h.01M18 12h.01" stroke-width="2.6" />
      ) : name === "auto" ? (
        <>
          <circle cx="12" cy="12" r="7.5" />
          <path d="M12 4.5a7.5 7.5 0 0 1 0 15Z" fill="currentColor" />
        </>
      ) : (
        <path d={PATHS[name]} />
      )}
    </svg>
  );
}

/** The mark of Loquent: a bubble on a tile. */
export function Mark({ size }: { size: number }) {
  return (
    <svg class="mark" viewBox="0 0 32 32" width={size} height={size} aria-hidden="true">
      <rect width="32" height="32" rx="9" fill="#0d6f73" />
      <path
        d="M9 20.5V10.8A1.8 1.8 0 0 1 10.8 9h10.4a1.8 1.8 0 0 1 1.8 1.8v6.4a1.8 1.8 0 0 1-1.8 1.8h-6.4L10.4 22.6A.84.84 0 0 1 9 22Z"
        fill="#fff"
      />
      <path d="M13 14h6" stroke="#0d6f73" stroke-width="2" stroke-linecap="round" />
    </svg>
  );
}
