/** The script `t-core.js`: the tracker alone. */
import { install, options } from "./tag";
import { start } from "./tracker";

install("reftide", start(options));
