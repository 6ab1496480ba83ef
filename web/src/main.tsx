// The page begins here: the chat, or one shared answer when the document carries one.
import { render } from 'preact';
import { App } from './app';
import { SharedPage, sharedHere } from './share';
import { start } from './state';
import './style.css';
import './messages.css';
import './canvas.css';
import './devices.css';

const root = document.getElementById('app')!;
const shared = sharedHere();
if (shared) {
  render(<SharedPage shared={shared} />, root);
} else {
  render(<App />, root);
  void start();
}
