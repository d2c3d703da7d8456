import { translate, word } from "./words.js";

translate();
document.title = `imza · ${word.telephones}`;
