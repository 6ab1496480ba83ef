// The page's icons: strokes of one weight in the colour of the text around them, hidden from screen readers.
import type { ComponentChildren } from 'preact';

function Icon({ children }: { children: ComponentChildren }) {
  return (
    <svg
      viewBox="0 0 20 20"
      width="20"
      height="20"
      fill="none"
      stroke="currentColor"
      stroke-width="1.6"
      stroke-linecap="round"
      stroke-linejoin="round"
      aria-hidden="true"
    >
      {children}
    </svg>
  );
}

export const PlayIcon = () => (
  <Icon>
    <path d="M7 4.8v10.4l8-5.2z" fill="currentColor" />
  </Icon>
);
export const PauseIcon = () => (
  <Icon>
    <path d="M7.2 5v10M12.8 5v10" />
  </Icon>
);
export const StopIcon = () => (
  <Icon>
    <rect x="5.5" y="5.5" width="9" height="9" rx="1.5" fill="currentColor" />
  </Icon>
);
export const SendIcon = () => (
  <Icon>
    <path d="M10 16V4.5M5 9.2l5-4.9 5 4.9" />
  </Icon>
);
export const MenuIcon = () => (
  <Icon>
    <path d="M3.5 6h13M3.5 10h13M3.5 14h13" />
  </Icon>
);
export const PlusIcon = () => (
  <Icon>
    <path d="M10 4v12M4 10h12" />
  </Icon>
);
export const SlidersIcon = () => (
  <Icon>
    <path d="M3.5 6.5h6M14 6.5h2.5M3.5 13.5h2.5M10.5 13.5h6" />
    <circle cx="11.8" cy="6.5" r="2" />
    <circle cx="8.2" cy="13.5" r="2" />
  </Icon>
);
export const SunIcon = () => (
  <Icon>
    <circle cx="10" cy="10" r="3.2" />
    <path d="M10 2.8v1.6M10 15.6v1.6M2.8 10h1.6M15.6 10h1.6M4.9 4.9l1.1 1.1M14 14l1.1 1.1M4.9 15.1L6 14M14 6l1.1-1.1" />
  </Icon>
);
export const MoonIcon = () => (
  <Icon>
    <path d="M16 11.6A6.5 6.5 0 0 1 8.4 4a6.5 6.5 0 1 0 7.6 7.6z" />
  </Icon>
);
export const HelpIcon = () => (
  <Icon>
    <circle cx="10" cy="10" r="7" />
    <path d="M8 8a2 2 0 1 1 2.7 1.9c-.5.2-.7.5-.7 1.1M10 13.6v.1" />
  </Icon>
);
export const EditIcon = () => (
  <Icon>
    <path d="M4 16l.7-3.2L13 4.5l2.5 2.5-8.3 8.3z" />
  </Icon>
);
export const TrashIcon = () => (
  <Icon>
    <path d="M4.5 6h11M8 6V4.3h4V6M6 6l.6 10h6.8L14 6" />
  </Icon>
);
export const CloseIcon = () => (
  <Icon>
    <path d="M5.5 5.5l9 9M14.5 5.5l-9 9" />
  </Icon>
);
export const BackIcon = () => (
  <Icon>
    <path d="M12 5l-5 5 5 5" />
  </Icon>
);
export const NextIcon = () => (
  <Icon>
    <path d="M8 5l5 5-5 5" />
  </Icon>
);

/** The mark: a canvas of nine positions, settling. */
export const Mark = () => (
  <svg class="mark" viewBox="0 0 24 24" width="24" height="24" aria-hidden="true">
    <rect x="2" y="2" width="6" height="6" rx="1.6" fill="currentColor" />
    <rect x="9" y="2" width="6" height="6" rx="1.6" fill="currentColor" />
    <rect x="16.8" y="2.8" width="4.4" height="4.4" rx="1.4" class="warm" />
    <rect x="2" y="9" width="6" height="6" rx="1.6" fill="currentColor" />
    <circle cx="12" cy="12" r="1.3" fill="currentColor" opacity=".5" />
    <rect x="16" y="9" width="6" height="6" rx="1.6" fill="currentColor" />
    <rect x="2.8" y="16.8" width="4.4" height="4.4" rx="1.4" class="warm" />
    <rect x="9" y="16" width="6" height="6" rx="1.6" fill="currentColor" />
    <circle cx="19" cy="19" r="1.3" fill="currentColor" opacity=".5" />
  </svg>
);
